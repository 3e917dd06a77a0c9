"""advance(): the one way to change a state. It checks the source state and the permission, runs the transition,
saves, and writes the ledger row, in the caller's transaction, on a row taken with locked() (DESIGN 2)."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.utils import timezone
from django_fsm import ConcurrentTransitionMixin, can_proceed

from portal.ledger.models import Ledger, record, rows_of, take_turn
from portal.ledger.roles import Person, Who, called

M = TypeVar("M", bound=models.Model)
IRREGULAR = {"plan": "planned", "cancel": "cancelled", "override": "overridden", "hold": "put on hold",
             "watch": "put under watch", "void": "sent back", "submit": "submitted", "reopen": "reopened",
             "drop": "dropped", "request_changes": "sent back for changes"}  # fmt: skip


class MoveRefused(Exception):
    """The move is not possible now. The message is meant for the person who tried; nothing was changed."""

    def __init__(self, message: str, obj: models.Model | None = None) -> None:
        super().__init__(message)
        self.obj = obj


class NotAllowed(PermissionDenied):
    """This person may not make the move; the message says what it needs."""


class StateManager(models.Manager[M]):
    def locked(self, pk: int) -> M:
        """The row, held against everybody else until the transaction ends. Raises DoesNotExist.

        `no_key`: who writes a row that only refers to this one holds its key, outside the queue; it does not matter.
        """
        take_turn()
        return self.select_for_update(of=("self",), no_key=True).get(pk=pk)


class StateModel(ConcurrentTransitionMixin, models.Model):
    """A record with a life. Its `state` moves only through advance()."""

    state: Any
    objects: StateManager[Self] = StateManager()

    class Meta:
        abstract = True


def transitions(model: type[StateModel]) -> list[Any]:
    """Every transition of a machine, as django-fsm knows them."""
    return list(state_field(model).get_all_transitions(model))


def state_field(model: type[StateModel]) -> Any:
    """The FSMField `state`, which each machine declares itself, with its own states."""
    return next(field for field in model._meta.fields if field.name == "state")


def past(move: str) -> str:
    return IRREGULAR.get(move) or (move + "d" if move.endswith("e") else move + "ed")


def who_may(obj: StateModel, move: str) -> Who:
    """The permission that the transition out of the present state carries (any of them when none leaves it)."""
    found = [each for each in transitions(type(obj)) if each.name == move]
    fitting = [each for each in found if each.source == obj.state] or found
    permission = fitting[0].permission
    assert isinstance(permission, Who), f"{move} carries no Who"
    return permission


def why_not(obj: StateModel, move: str, person: Person) -> str:
    """ "" when this person may make the move now, else the reason in words."""
    method = getattr(obj, move)
    if not can_proceed(method, check_conditions=False):
        return too_late(obj, move)
    if reason := who_may(obj, move).why_not(obj, person):
        return reason
    return unmet(obj, move)


def unmet(obj: StateModel, move: str) -> str:
    """The first condition that does not hold: a condition's docstring is its message."""
    for each in transitions(type(obj)):
        if each.name == move and each.source == obj.state:
            for condition in each.conditions:
                if not condition(obj):
                    return " ".join(str(condition.__doc__).split())
    return ""


def too_late(obj: StateModel, move: str) -> str:
    """Who was faster, and when."""
    last = rows_of(obj).exclude(target="").order_by("-number").first()
    now = f"{obj} is {obj.get_state_display().lower()}"  # type: ignore[attr-defined]
    if last is None:
        return f"{now}: it cannot be {past(move)}."
    seconds = max(0, round((timezone.now() - last.at).total_seconds()))
    return f"{obj} was {past(last.move)} by {last.actor_name} {ago(seconds)} ago: it cannot be {past(move)}."


def ago(seconds: int) -> str:
    """Whole seconds as a person says them: "2 s", "5 min", "3 h", "2 d"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size == 60 and seconds >= 60):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def advance(obj: StateModel, move: str, *, by: Person, note: str = "", **details: Any) -> Ledger:
    """Make one move and write it down. `obj` comes from locked(), inside atomic().

    Raises MoveRefused (wrong state, a condition that does not hold) or NotAllowed; then nothing has changed.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("advance() needs the transaction in which the row was locked")
    method = getattr(obj, move)
    source = obj.state
    if not can_proceed(method, check_conditions=False):
        raise MoveRefused(too_late(obj, move), obj)
    if reason := who_may(obj, move).why_not(obj, by):
        raise NotAllowed(f"{called(by)} cannot {move.replace('_', ' ')} {obj}: {reason}.")
    if reason := unmet(obj, move):
        raise MoveRefused(f"{obj} cannot be {past(move)}: {reason}", obj)
    method()
    obj.save()
    return record(obj, move, by=by, note=note, source=str(source), target=str(obj.state), **details)


def born(obj: StateModel, move: str, *, by: Person, note: str = "", **details: Any) -> Ledger:
    """Write down that a record came to be (its first state has no source)."""
    return record(obj, move, by=by, note=note, target=str(obj.state), **details)
