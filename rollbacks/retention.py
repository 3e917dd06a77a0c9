"""Which restore points stay, and why: a choice only, which touches nothing. keeping.py carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rollbacks.models import READABLE, RestorePoint, RestorePointState
from rollbacks.tools.manifest import Retention

SAFETY_LAST = 5
EVIDENCE_DAYS = 14  # for which what is no target stays too: a post-mortem asks for it

Period = Callable[[datetime], str]
DAY: Period = lambda at: f"{at:%-d %B %Y}"  # noqa: E731 — three words for three functions
WEEK: Period = lambda at: f"week {at:%G-%V}"  # noqa: E731
MONTH: Period = lambda at: f"{at:%B %Y}"  # noqa: E731


@dataclass(frozen=True)
class Verdict:
    """What becomes of a restore point. `why` is a reason to keep it, or what no longer keeps it."""

    point: RestorePoint
    stays: bool
    why: str


def choose(
    points: Sequence[RestorePoint], rule: Retention, needed: Mapping[int, str], now: datetime | None = None
) -> list[Verdict]:
    """One verdict for each point that is on the disk, the newest first. `needed`: why somebody still needs it, by key.

    A point that is no target (corrupt, or marked bad) counts for nothing: ten broken ones do not push a good one out.
    """
    now = now or datetime.now(UTC)
    there = sorted((point for point in points if point.state in READABLE), key=lambda each: each.made_at, reverse=True)
    reasons: dict[int, str] = {**needed, **{point.pk: "pinned" for point in there if point.pinned}}
    for reason in (newest_of(there), backups_kept(there, rule), evidence_kept(there, now)):
        reasons = {**reason, **reasons}
    gone = no_longer(rule)
    return [Verdict(point, point.pk in reasons, reasons.get(point.pk) or gone(point)) for point in there]


def newest_of(there: Sequence[RestorePoint]) -> dict[int, str]:
    """What no rule, however short, may take: the last way back of each sort."""
    kept: dict[int, str] = {}
    for kind, name in RestorePoint.Kind.choices:
        good = [point for point in there if point.is_target and point.kind == kind]
        read = [point for point in good if point.state == RestorePointState.VERIFIED]
        for found, why in ((read, "that was read back"), (good, "good")):
            if found:
                kept[found[0].pk] = f"the newest {why} ({name.lower()})"
    return kept


def backups_kept(there: Sequence[RestorePoint], rule: Retention) -> dict[int, str]:
    """The last ones, and the last one of each of so many days, weeks and months in which there were any."""
    good = [point for point in there if point.is_target and point.kind != RestorePoint.Kind.SAFETY]
    kept: dict[int, str] = {}
    for count, period in ((rule.monthly, MONTH), (rule.weekly, WEEK), (rule.daily, DAY)):
        newest: dict[str, RestorePoint] = {}
        for point in good:
            newest.setdefault(period(point.made_at.astimezone(UTC)), point)
        kept |= {point.pk: f"the last of {said}" for said, point in list(newest.items())[:count]}
    return kept | {point.pk: f"one of the last {rule.last}" for point in good[: rule.last]}


def evidence_kept(there: Sequence[RestorePoint], now: datetime) -> dict[int, str]:
    """Safety points have a rule of their own; and what is broken or bad is kept for a while, to be looked at."""
    evidence = [point for point in there if point.kind == RestorePoint.Kind.SAFETY or not point.is_target]
    safety = [point for point in evidence if point.kind == RestorePoint.Kind.SAFETY]
    young = [point for point in evidence if now - point.made_at < timedelta(days=EVIDENCE_DAYS)]
    kept = {point.pk: f"younger than {EVIDENCE_DAYS} days" for point in young}
    return kept | {point.pk: f"one of the last {SAFETY_LAST} safety points" for point in safety[:SAFETY_LAST]}


def no_longer(rule: Retention) -> Callable[[RestorePoint], str]:
    def why(point: RestorePoint) -> str:
        if point.kind == RestorePoint.Kind.SAFETY:
            return f"older than {EVIDENCE_DAYS} days, and not one of the last {SAFETY_LAST} safety points"
        if not point.is_target:
            return f"no target any more ({'bad' if point.bad else point.state}), and older than {EVIDENCE_DAYS} days"
        return (
            f"not one of the last {rule.last}, nor the last of {rule.daily} days, {rule.weekly} weeks, "
            f"{rule.monthly} months"
        )

    return why
