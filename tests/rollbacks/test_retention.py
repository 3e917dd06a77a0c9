"""Which restore points stay: only the choice, on points that were never saved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollbacks.models import RestorePoint
from rollbacks.retention import choose
from rollbacks.tools.manifest import Retention

NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)  # a Wednesday
SHORT = Retention(last=1, daily=0, weekly=0, monthly=0)


def made(pk: int, days: float, **changes: object) -> RestorePoint:
    words = {"kind": "backup", "state": "verified", "tag": f"backup-{pk}", **changes}
    return RestorePoint(pk=pk, made_at=NOW - timedelta(days=days), **words)


def staying(points: list[RestorePoint], rule: Retention, needed: dict[int, str] | None = None) -> dict[int, str]:
    return {each.point.pk: each.why for each in choose(points, rule, needed or {}, NOW) if each.stays}


def test_the_last_ones_stay_and_the_last_of_each_day_week_and_month() -> None:
    points = [made(hours, hours / 24) for hours in range(0, 24 * 120, 8)]  # three a day, for four months
    kept = staying(points, Retention(last=2, daily=3, weekly=3, monthly=3))
    days = {pk / 24 for pk in kept}
    assert [pk for pk, why in kept.items() if why.startswith(("one of", "the newest"))] == [0, 8]
    assert {NOW.day - int(day) for day in days if day < 3} == {17, 16, 15}
    assert "the last of week 2026-23" in kept.values()  # Sunday the 7th
    assert "the last of April 2026" in kept.values()
    assert len(kept) == 2 + 2 + 2 + 2  # the newest is the last of its day, its week and its month too


def test_each_that_goes_is_told_why() -> None:
    old, new = made(1, 400), made(2, 1)
    [stays, goes] = choose([old, new], SHORT, {}, NOW)
    assert (stays.point, goes.point, goes.stays) == (new, old, False)
    assert goes.why == "not one of the last 1, nor the last of 0 days, 0 weeks, 0 months"


def test_the_last_good_one_stays_however_many_broken_ones_came_after_it() -> None:
    good = made(1, 900)
    broken = [made(2, 30, state="corrupt"), made(3, 29, bad=True), made(4, 28, state="corrupt")]
    assert list(staying([good, *broken], SHORT)) == [1]


def test_the_only_one_that_was_read_back_stays_beside_newer_ones_that_were_not() -> None:
    points = [made(1, 90), made(2, 40, state="available"), made(3, 30, state="available")]
    words = {3: "the newest good (backup)", 1: "the newest that was read back (backup)"}
    assert staying(points, SHORT) == words


def test_one_made_by_hand_does_not_push_out_the_last_whole_backup() -> None:
    """It may hold less."""
    assert set(staying([made(1, 90), made(2, 1, kind="hand-made")], SHORT)) == {1, 2}


def test_pinned_and_needed_ones_stay() -> None:
    points = [made(1, 900, pinned=True), made(2, 800), made(3, 700), made(4, 1)]
    kept = staying(points, SHORT, {2: "its target: Rollback 7 is held"})
    assert (kept[1], kept[2], set(kept)) == ("pinned", "its target: Rollback 7 is held", {1, 2, 4})


def test_safety_points_are_counted_apart() -> None:
    safety = [made(pk, 20 + pk, kind="safety", bad=True) for pk in range(1, 9)]
    young = [made(20 + pk, pk, kind="safety", bad=True) for pk in range(1, 7)]
    assert set(staying([*safety, made(50, 200)], SHORT)) == {1, 2, 3, 4, 5, 50}
    assert set(staying([*safety, *young, made(50, 200)], SHORT)) == {21, 22, 23, 24, 25, 26, 50}


def test_what_is_broken_is_kept_for_a_while_to_be_looked_at() -> None:
    points = [made(1, 15, state="corrupt"), made(2, 13, state="corrupt"), made(3, 1)]
    assert set(staying(points, SHORT)) == {2, 3}


def test_what_is_not_on_the_disk_is_no_question() -> None:
    points = [made(1, 1, state="pruned"), made(2, 1, state="failed"), made(3, 1, state="creating")]
    assert choose(points, SHORT, {}, NOW) == []
