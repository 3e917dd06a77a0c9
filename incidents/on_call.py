"""Who is on call, as a pure function of a plan and an instant. Handovers are at a time on the wall of the plan's zone,
so that a week with a changed clock has 167 or 169 hours; all instants are in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Span:
    """Somebody, from an instant until (not including) another."""

    start: datetime
    end: datetime
    who: int

    def covers(self, at: datetime) -> bool:
        return self.start <= at < self.end


@dataclass(frozen=True)
class Plan:
    people: Sequence[int]  # in their order
    days: int
    weekday: int  # of the first handover: 0 is Monday
    handover: time
    zone: ZoneInfo
    starts: date
    overrides: Sequence[Span] = ()  # in the order in which they were made: the last one counts
    absences: Sequence[Span] = ()
    gone: Mapping[int, str] = field(default_factory=dict)  # who cannot be called at all, and why


@dataclass(frozen=True)
class Shift:
    start: datetime
    end: datetime
    who: int | None  # None: a gap
    why: str = ""  # of the gap
    override: bool = False


def first_day(plan: Plan) -> date:
    return plan.starts + timedelta(days=(plan.weekday - plan.starts.weekday()) % 7)


def handover(plan: Plan, number: int) -> datetime:
    """The instant of a handover. A time that the clock leaves out is the instant at which it would have come."""
    day = first_day(plan) + timedelta(days=number * plan.days)
    return datetime.combine(day, plan.handover, tzinfo=plan.zone).astimezone(UTC)


def turn(plan: Plan, at: datetime) -> int:
    """The number of the shift that `at` is in; negative before the plan begins."""
    number = (at.astimezone(plan.zone).date() - first_day(plan)).days // plan.days
    while handover(plan, number) > at:
        number -= 1
    while handover(plan, number + 1) <= at:
        number += 1
    return number


def on_call(plan: Plan, at: datetime) -> Shift:
    """Who, at this instant; the shift's ends are those of its turn, or of the override."""
    own = next((each for each in reversed(plan.overrides) if each.covers(at)), None)
    if own is not None:
        found = Shift(own.start, own.end, own.who, override=True)
    else:
        number = turn(plan, at)
        found = Shift(handover(plan, number), handover(plan, number + 1), None)
        if number < 0:
            return replace(found, why="it has not begun yet")
        if not plan.people:
            return replace(found, why="nobody is in this rotation")
        found = replace(found, who=plan.people[number % len(plan.people)])
    assert found.who is not None
    if found.who in plan.gone:
        return replace(found, who=None, why=plan.gone[found.who])
    if any(each.who == found.who and each.covers(at) for each in plan.absences):
        return replace(found, who=None, why="away")
    return found


def shifts(plan: Plan, begin: datetime, end: datetime) -> list[Shift]:
    """Without a hole from `begin` to `end`: what is nobody's is a gap, with its reason."""
    edges = {begin, end}
    number = turn(plan, begin)
    while (at := handover(plan, number)) < end:
        edges.add(at)
        number += 1
    for each in (*plan.overrides, *plan.absences):
        edges.update((each.start, each.end))
    inside = sorted(edge for edge in edges if begin <= edge <= end)
    found: list[Shift] = []
    for start, stop in pairwise(inside):
        shift = replace(on_call(plan, start), start=start, end=stop)
        if found and same(found[-1], shift) and not is_handover(plan, start):
            shift = replace(shift, start=found.pop().start)
        found.append(shift)
    return found


def same(one: Shift, other: Shift) -> bool:
    return (one.who, one.why, one.override) == (other.who, other.why, other.override)


def is_handover(plan: Plan, at: datetime) -> bool:
    return handover(plan, turn(plan, at)) == at


def now_and_next(plan: Plan, at: datetime, days: int = 60) -> tuple[Shift, Shift | None]:
    """Who is on call until when, and who comes then."""
    line = shifts(plan, at, at + timedelta(days=days))
    following = next((each for each in line if (each.who, each.why) != (line[0].who, line[0].why)), None)
    until = following.start if following else line[-1].end
    return replace(line[0], end=until), following
