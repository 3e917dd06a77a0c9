"""Every procedure, cut off at every boundary of its steps and at random instants, ends in one of two known states:
where it was to go, or as it was found. `RUNS`, `MINUTES` and `SEED` choose; the table is printed (page.py).

What the blow is, is the bed's affair: here its worker is killed, in tests/hosts its host loses its power."""

from __future__ import annotations

import io
import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.management import call_command

from rollbacks.models import RestorePoint, Rollback, Run
from rollbacks.procedures.known import PROCEDURES as KNOWN
from tests.chaos.bed import PROCEDURES, Bed, Look
from tests.chaos.worker import NEVER, Cut
from tests.processes.driver import story
from tests.processes.portal import check_hands

WAYS = ("forward", "back")  # to its goal; or its smoke test fails, and it goes back by itself
CHECK_CHAIN_EVERY = 20


@dataclass(frozen=True)
class Case:
    procedure: str
    way: str
    cut: Cut

    def __str__(self) -> str:
        return f"{self.procedure}, {self.way}, cut off {self.cut}"


@dataclass
class Whole:
    """A run that nobody cut off: what the others have to come to, and how long it took."""

    moves: list[str]
    seconds: float
    found: Look
    look: Look
    point: Look | None = None


@dataclass
class Tally:
    runs: int = 0
    missed: int = 0  # the worker had ended before its instant came
    ends: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    longest: float = 0.0
    violations: list[str] = field(default_factory=list)


@dataclass
class Matrix:
    """What is played, and what came of it."""

    bed: Bed
    instants: int  # of each procedure and way, beside the boundaries
    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    seed: int = field(default_factory=lambda: int(os.environ.get("SEED", time.time_ns() % 100_000)))
    most: int = field(default_factory=lambda: int(os.environ.get("RUNS", "0")))
    minutes: float = field(default_factory=lambda: float(os.environ.get("MINUTES", "inf")))
    possible: int = 0

    def play(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 — to be repeated, not to be secret
        print(f"\nSEED={self.seed}")
        wholes = {(name, way): uncut(self.bed, name, way) for name in PROCEDURES for way in ways(name)}
        check_goals(wholes)
        cases = [
            case
            for (name, way), whole in wholes.items()
            for case in cases_of(name, way, whole.seconds, self.instants, chance)
        ]
        self.possible = len(cases)
        cases = spread(cases, self.most or len(cases), chance)
        until = time.monotonic() + self.minutes * 60
        for number, case in enumerate(cases, 1):
            tally = self.tallies[case.procedure, group(case)]
            wrong = blow(self.bed, case, wholes[case.procedure, case.way], tally)
            if number % CHECK_CHAIN_EVERY == 0:
                call_command("verify_ledger", stdout=io.StringIO())
            print(f"{number}/{len(cases)} {case}: {wrong or 'sound'}", flush=True)
            if time.monotonic() > until:
                break
        call_command("verify_ledger", stdout=io.StringIO())

    @property
    def violations(self) -> list[str]:
        return [each for tally in self.tallies.values() for each in tally.violations]


def ways(procedure: str) -> tuple[str, ...]:
    return WAYS[:1] if procedure == "backup" else WAYS


def uncut(bed: Bed, procedure: str, way: str) -> Whole:
    bed.reset()
    found = bed.look()
    run = bed.begin(procedure, way, NEVER)
    began = time.monotonic()
    bed.end(run, NEVER)
    seconds = time.monotonic() - began
    assert state_of(run) == ends_of(procedure, way), trouble_of(run)
    point = bed.look_at_point(run.restore_point.tag) if run.restore_point else None
    return Whole(moves(story(run.pk)), seconds, found, bed.look(), point)


def ends_of(procedure: str, way: str) -> str:
    return "verified" if procedure == "backup" else {"forward": "monitoring", "back": "reverted"}[way]


def check_goals(wholes: dict[tuple[str, str], Whole]) -> None:
    """What each procedure is for, said once by hand; the cut runs are held against these."""
    seen = {name: wholes[name, "forward"].look for name in PROCEDURES}
    found = wholes["code", "forward"].found
    assert seen["backup"] == found
    assert [seen[name]["service"] for name in PROCEDURES] == [f"release {n}" for n in (2, 1, 2, 2, 2, 2, 1)]
    assert seen["dependencies"]["packages"] == seen["full"]["packages"] == ["tool-1.0.dist-info"]
    assert found["packages"] == ["tool-2.0.dist-info"]
    held = {name: {path: bytes.fromhex(each[2]) for path, each in contents(look)} for name, look in seen.items()}
    assert b"small" in held["config"]["config/agents.json"]
    assert held["partial"]["planner.py"] == held["code"]["planner.py"] == held["full"]["planner.py"] == b"PLAN = 1\n"
    assert held["state"]["artifacts/history.txt"] == held["full"]["artifacts/history.txt"] == b"one\n"
    assert b"super-secret" in held["full"][".env"]
    assert b"rotated" in held["code"][".env"]
    for (_, way), whole in wholes.items():
        assert way == "forward" or whole.look == whole.found, "a way back leads to what was found"


def contents(look: Look) -> Iterator[tuple[str, Any]]:
    return ((path, each) for path, each in look["files"].items() if each[0] == "file")


def cases_of(procedure: str, way: str, seconds: float, instants: int, chance: random.Random) -> Iterator[Case]:
    steps = [step.name for step in KNOWN[procedure].steps]
    if way == "back":  # what comes before its smoke test is as on the way forward
        begun = steps[: steps.index("health") + 1]
        yield from (Case(procedure, way, Cut(f"{when} the undo", step)) for step in begun for when in BOUNDARIES)
    else:
        yield from (Case(procedure, way, Cut(when, step)) for step in steps for when in BOUNDARIES)
    for _ in range(instants):
        yield Case(procedure, way, Cut("at", at=round(chance.uniform(0.01, seconds), 3)))


BOUNDARIES = ("before", "after")


def spread(cases: list[Case], most: int, chance: random.Random) -> list[Case]:
    """So many, of every procedure and kind of blow about as many."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in chance.sample(cases, len(cases)):
        groups[case.procedure, group(case)].append(case)
    chosen: list[Case] = []
    while len(chosen) < most and any(groups.values()):
        chosen += [rest.pop() for rest in groups.values() if rest]
    return chosen[:most]


def group(case: Case) -> str:
    where = "at an instant" if case.cut.at else "at a boundary"
    return f"{where}, {'on its way' if case.way == 'forward' else 'on its way back'}"


def blow(bed: Bed, case: Case, whole: Whole, tally: Tally) -> str:
    """ "" or what is wrong after it."""
    run = None
    try:
        bed.reset()
        run = bed.begin(case.procedure, case.way, case.cut)
        took = bed.end(run, case.cut)
        tally.missed += took == 0
        tally.longest = max(tally.longest, took)
        check(bed, case, whole, run)
        wrong = ""
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
        tally.violations.append(f"{case}: {wrong}")
    tally.runs += 1
    tally.ends[state_of(run) if run else "not begun"] += 1
    return wrong


def check(bed: Bed, case: Case, whole: Whole, run: Run) -> None:
    state, told = state_of(run), story(run.pk)
    assert state in (ends_of(case.procedure, case.way), "reverted"), f"{state}: {trouble_of(run)}"
    assert bed.quiet(), bed.left_behind()
    differs = difference(bed.look(), whole.found if state == "reverted" else whole.look)
    assert not differs, f"{state}, but differs in {differs}"
    check_hands(told)
    if state == ends_of(case.procedure, case.way):
        assert moves(told) == whole.moves, f"the ledger has {moves(told)}, not {whole.moves}"
    if run.restore_point:
        point = bed.look_at_point(run.restore_point.tag)
        assert point == whole.point, difference(point, whole.point or {})


def difference(one: Look, other: Look) -> list[str]:
    """The names of what differs, one floor down where that says more."""
    found = []
    for name in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(name), other.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += [f"{name}: {key}" for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
        elif ours != theirs:
            found.append(f"{name} ({theirs!r:.80} → {ours!r:.80})")
    return found


def state_of(run: Run) -> str:
    if run.rollback_id:
        return str(Rollback.objects.get(pk=run.rollback_id).state)
    return str(RestorePoint.objects.get(pk=run.restore_point_id).state)


def trouble_of(run: Run) -> str:
    if run.rollback_id:
        return Rollback.objects.get(pk=run.rollback_id).trouble
    return RestorePoint.objects.get(pk=run.restore_point_id).problem


def moves(told: dict[str, Any]) -> list[str]:
    """In their order; who took over whom is the one thing that a blow adds."""
    return [row["move"] for row in told["ledger"] if not row["move"].endswith("taken over")]
