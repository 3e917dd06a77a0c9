"""Who is on call: a plan and an instant, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from incidents.on_call import Plan, Shift, Span, handover, now_and_next, on_call, shifts

BERLIN = ZoneInfo("Europe/Berlin")
ADA, BO, CLEO = 1, 2, 3
PLAN = Plan([ADA, BO, CLEO], 7, 0, time(9), BERLIN, date(2026, 3, 2))  # a Monday


def at(day: int, hour: int = 12, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def whole(line: list[Shift], begin: datetime, end: datetime) -> bool:
    """Without a hole and without an overlap."""
    edges = [begin, *(each.end for each in line)]
    return [each.start for each in line] == edges[:-1] and edges[-1] == end


def test_people_take_turns_in_their_order() -> None:
    assert [on_call(PLAN, at(2) + timedelta(weeks=week)).who for week in range(4)] == [ADA, BO, CLEO, ADA]


def test_the_handover_belongs_to_who_comes() -> None:
    moment = datetime(2026, 3, 9, 8, tzinfo=UTC)  # 9 o'clock in Berlin
    assert on_call(PLAN, moment - timedelta(microseconds=1)).who == ADA
    assert on_call(PLAN, moment).who == BO


def test_the_first_handover_is_on_the_plans_weekday() -> None:
    later = replace(PLAN, starts=date(2026, 3, 3))  # a Tuesday
    assert on_call(later, at(4)) == Shift(at(2, 8), at(9, 8), None, "it has not begun yet")
    assert on_call(later, at(10)).who == ADA


@pytest.mark.parametrize(("day", "month", "hours"), [(25, 3, 167), (21, 10, 169), (10, 6, 168)])
def test_a_week_with_a_changed_clock_is_still_from_nine_to_nine(day: int, month: int, hours: int) -> None:
    found = on_call(PLAN, at(day, month=month))
    assert found.end - found.start == timedelta(hours=hours)
    assert {each.astimezone(BERLIN).hour for each in (found.start, found.end)} == {9}


@pytest.mark.parametrize("starts", [date(2026, 3, 29), date(2026, 10, 25)])  # the night in which the clock changes
def test_a_handover_in_the_hour_that_is_left_out_or_comes_twice_happens_once(starts: date) -> None:
    nightly = replace(PLAN, days=1, weekday=6, handover=time(2, 30), starts=starts - timedelta(days=7))
    begin = datetime(starts.year, starts.month, starts.day, tzinfo=UTC) - timedelta(days=2)
    line = shifts(nightly, begin, begin + timedelta(days=5))
    assert whole(line, begin, begin + timedelta(days=5))
    assert len(line) == 6
    assert all(timedelta(hours=23) <= each.end - each.start <= timedelta(hours=25) for each in line[1:-1])


def test_an_override_counts_and_the_last_made_of_two() -> None:
    plan = replace(PLAN, overrides=[Span(at(3), at(5), CLEO), Span(at(4), at(6), BO)])
    begin, end = at(2), at(8)
    line = shifts(plan, begin, end)
    assert whole(line, begin, end)
    assert [(each.start.day, each.who) for each in line] == [(2, ADA), (3, CLEO), (4, BO), (6, ADA)]
    assert on_call(plan, at(6)).who == ADA, "until, not including"


def test_gaps_are_shown_with_their_reason() -> None:
    assert on_call(replace(PLAN, people=[]), at(3)).why == "nobody is in this rotation"
    assert on_call(replace(PLAN, gone={ADA: "Ada has left"}), at(3)).why == "Ada has left"
    away = replace(PLAN, absences=[Span(at(3), at(4), ADA), Span(at(3), at(4), BO)])
    assert [(each.who, each.why) for each in shifts(away, at(2), at(5))] == [(ADA, ""), (None, "away"), (ADA, "")]
    covered = replace(away, overrides=[Span(at(3), at(4), CLEO)])
    assert on_call(covered, at(3)).who == CLEO
    assert on_call(replace(covered, gone={CLEO: "Cleo has left"}), at(3)).who is None, "an override to nobody is a gap"


def test_now_and_next() -> None:
    now, following = now_and_next(PLAN, at(3))
    assert (now.who, now.end) == (ADA, handover(PLAN, 1))
    assert following is not None
    assert following.who == BO
    alone, nobody = now_and_next(replace(PLAN, people=[ADA]), at(3))
    assert (alone.who, nobody) == (ADA, None)
