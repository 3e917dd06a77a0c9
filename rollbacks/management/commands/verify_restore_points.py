from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from rollbacks import actions, keeping
from rollbacks.management.acting import ActingCommand
from rollbacks.models import READABLE, RestorePoint, RestorePointState


class Command(ActingCommand):
    help = (
        "Reads this host's restore points back, and tells what is known of other hosts'. Exit code 1 if one is not "
        "sound, or was not read for a day. Anybody may: nothing is changed but what is known."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", metavar="SYSTEM", nargs="?", default="")
        super().add_arguments(parser)

    def act(self, *, system: str, **options: Any) -> None:
        points = RestorePoint.objects.filter(state__in=READABLE, system__retired=False)
        if system:
            points = points.filter(system=actions.find_system(system))
        wrong = {}
        for point in points.select_related("system").order_by("system__name", "made_at"):
            seen = keeping.read_back(point.pk, whole=False)
            if seen.state == RestorePointState.PRUNED:
                continue
            words = trouble(seen)
            self.say(f"{seen.system} {seen.tag}: {words or 'sound'}")
            if words:
                wrong[f"{seen.system} {seen.tag}"] = words
        self.finish({"sound": not wrong, "points": len(points), "wrong": wrong})
        if wrong:
            raise SystemExit(1)


def trouble(point: RestorePoint) -> str:
    """ "" or why nobody should rely on it."""
    if point.state == RestorePointState.CORRUPT:
        return f"CORRUPT: {point.problem}"
    if point.is_stale and point.system.host != settings.HOST:
        return f"not read back for a day by the worker on {point.system.host}: is its keeper running?"
    return ""
