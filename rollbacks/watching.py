"""The chart of a watch: how fast the system answered and whether it was healthy, over the hour after a rollback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from math import ceil

from django.conf import settings
from django.db.models import Count, F, IntegerField, Max, Q, Value
from django.db.models.functions import Cast
from django.utils import timezone

from rollbacks.models import ENDED, HealthSample, Rollback

WIDTH, HEIGHT, TOP = 600, 120, 8  # of the drawing, in its own units; above TOP nothing is drawn
MOST_POINTS = 120
ROWS = 12  # of the table that says the same
KEPT = timedelta(days=90)  # long after every post-mortem: 1800 looks an hour
LOOKS = 2.5  # in a point at least: one that comes late leaves no gap


@dataclass(frozen=True)
class Point:
    """What was seen in one piece of the watch: its slowest answer, and how many looks found it not healthy."""

    number: int
    looks: int
    lost: int
    slowest: float  # milliseconds


@dataclass(frozen=True)
class Bar:
    """A time in which health was lost, as it is drawn."""

    x: float
    width: float


@dataclass(frozen=True)
class Row:
    since: datetime
    until: datetime
    looks: int
    lost: int
    slowest: float


@dataclass(frozen=True)
class Chart:
    began: datetime
    until: datetime
    looks: int
    lost: int
    slowest: float
    last: float
    lines: list[str]  # each the points of one line without a gap
    bars: list[Bar]
    now_x: float  # where the last look is
    rows: list[Row]

    @property
    def said(self) -> str:
        """The chart for whoever does not see it."""
        answers = f"the slowest answer took {self.slowest:.0f} ms, the last {self.last:.0f} ms"
        return f"Healthy in {self.looks - self.lost} of {self.looks} looks; {answers}."


def chart(rollback: Rollback) -> Chart | None:
    """None when it was not watched (yet)."""
    began = rollback.run.ended_at
    newest = rollback.health_samples.order_by("-second", "-pk").first()
    if newest is None or rollback.watch_until is None:
        return None
    began = newest.at - timedelta(seconds=newest.second) if began is None or began > newest.at else began
    length = max(1, round((rollback.watch_until - began).total_seconds()), newest.second + 1)
    width = max(ceil(length / MOST_POINTS), ceil(LOOKS * settings.HEALTH_SECONDS))  # seconds
    points = list(seen(rollback, width))
    slowest = max(point.slowest for point in points)
    scale = WIDTH / ceil(length / width)
    return Chart(
        began=began,
        until=began + timedelta(seconds=length),
        looks=sum(point.looks for point in points),
        lost=sum(point.lost for point in points),
        slowest=slowest,
        last=newest.milliseconds,
        lines=[drawn(run, scale, slowest) for run in without_gaps(points)],
        bars=[Bar(round(point.number * scale, 1), round(scale, 1)) for point in points if point.lost],
        now_x=round((points[-1].number + 0.5) * scale, 1),
        rows=list(rows(points, began, width)),
    )


def seen(rollback: Rollback, width: int) -> Iterator[Point]:
    """The samples in pieces of so many seconds, in one query of at most MOST_POINTS rows."""
    piece = Cast(F("second") / Value(width), IntegerField())
    found = (
        rollback.health_samples.order_by()
        .annotate(piece=piece)
        .values("piece")
        .annotate(looks=Count("pk"), lost=Count("pk", filter=Q(healthy=False)), slowest=Max("milliseconds"))
        .order_by("piece")
    )
    for row in found:
        yield Point(row["piece"], row["looks"], row["lost"], row["slowest"])


def without_gaps(points: list[Point]) -> Iterator[list[Point]]:
    """Where nobody looked, no line is drawn."""
    for _, run in groupby(enumerate(points), lambda each: each[1].number - each[0]):
        yield [point for _, point in run]


def drawn(points: list[Point], scale: float, slowest: float) -> str:
    height = (HEIGHT - TOP) / max(slowest, 1.0)
    middle = [((point.number + 0.5) * scale, HEIGHT - point.slowest * height) for point in points]
    if len(middle) == 1:  # a line of one point is not seen
        middle = [(points[0].number * scale, middle[0][1]), ((points[0].number + 1) * scale, middle[0][1])]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in middle)


def rows(points: list[Point], began: datetime, width: int) -> Iterator[Row]:
    many = ceil(MOST_POINTS / ROWS)
    for number, piece in groupby(points, lambda point: point.number // many):
        group, since = list(piece), began + timedelta(seconds=number * many * width)
        looks, lost = sum(each.looks for each in group), sum(each.lost for each in group)
        yield Row(since, since + timedelta(seconds=many * width), looks, lost, max(each.slowest for each in group))


def forget() -> int:
    """Let go of the looks of watches that were over long ago; what came of them is in the log and the ledger. Returns
    how many."""
    return HealthSample.objects.filter(at__lt=timezone.now() - KEPT, rollback__state__in=ENDED).delete()[0]
