"""The state machines, read from the code: what docs/states.md prints, and what the tests compare with real moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps

from portal.ledger.moves import StateModel, state_field, transitions
from portal.ledger.roles import IMPLIED, Role, Who

YES, NO = "yes", "–"


@dataclass(frozen=True)
class Move:
    name: str
    source: str
    target: str
    who: Who
    needs: tuple[str, ...]  # conditions, in the words that a person reads when one does not hold


@dataclass
class Holder:
    """Somebody who holds one role and nothing else, and did not ask for the thing himself."""

    role: Role
    pk: int = 0
    is_active: bool = True
    _roles: set[Role] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._roles = {self.role, *IMPLIED.get(self.role, set())}

    @property
    def groups(self) -> Holder:
        return self

    def all(self) -> list[Any]:
        return []


def machines() -> list[type[StateModel]]:
    """Every model with a life, in the order of the apps."""
    found: list[Any] = [model for model in apps.get_models() if issubclass(model, StateModel)]
    return found


def moves(model: type[StateModel]) -> Iterator[Move]:
    """Every transition, in the order of the states' life and of the code."""
    found = transitions(model)
    order = [str(value) for value, _ in states(model)]
    names = list(vars(model))
    for each in sorted(found, key=lambda one: (order.index(str(one.source)), names.index(one.name))):
        needs = tuple(" ".join(str(condition.__doc__).split()) for condition in each.conditions)
        yield Move(each.name, str(each.source), str(each.target), each.permission, needs)


def states(model: type[StateModel]) -> list[tuple[str, str]]:
    return [(str(value), str(label)) for value, label in state_field(model).choices]


def may(move: Move, role: Role | None, example: StateModel) -> bool:
    """May somebody of this role (None: the machine) make the move, on an object like the example?"""
    return not move.who.why_not(example, Holder(role) if role else None)  # type: ignore[arg-type]


# --- as Markdown ----------------------------------------------------------------------------------------------------


def diagram(model: type[StateModel]) -> str:
    """A Mermaid state diagram."""
    first = str(state_field(model).get_default())
    arrows = [f"    {move.source} --> {move.target}: {move.name}" for move in moves(model)]
    leaves = [value for value, _ in states(model) if value not in {move.source for move in moves(model)}]
    ends = [f"    {value} --> [*]" for value in leaves if value in {move.target for move in moves(model)}]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *arrows, *ends, "```"])


def table(model: type[StateModel], example: StateModel) -> str:
    """State x move x role."""
    columns = ["machine", *(role.value for role in Role)]
    rows = [f"| state | move | to | {' | '.join(columns)} |", f"| --- | --- | --- |{' --- |' * len(columns)}"]
    for move in moves(model):
        cells = [YES if may(move, role, example) else NO for role in (None, *Role)]
        rows.append(f"| {move.source} | {move.name} | {move.target} | {' | '.join(cells)} |")
    return "\n".join(rows)


def who(model: type[StateModel]) -> str:
    """One line a move: who, and what has to hold besides."""
    lines: dict[str, None] = {}
    for move in moves(model):
        needs = f"; refused when: {' '.join(move.needs)}" if move.needs else ""
        lines[f"- `{move.name}`: {move.who.label}{needs}"] = None
    return "\n".join(lines)
