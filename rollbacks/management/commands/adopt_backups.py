from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from rollbacks import actions, keeping, runner
from rollbacks.management.acting import ActingCommand
from rollbacks.models import RestorePoint, RestorePointState, System


class Command(ActingCommand):
    help = "Take over backups that were made by hand (by the guide), all of them or one: each becomes a restore point."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", metavar="SYSTEM")
        parser.add_argument("tag", metavar="TAG", nargs="?", default="")
        super().add_arguments(parser)

    def act(self, *, system: str, tag: str, wait: bool, local: bool, **options: Any) -> None:
        found, person = actions.find_system(system), self.person()
        if found.host == settings.HOST:
            runner.refresh(found)  # they may have been made a second ago
            found = System.objects.get(pk=found.pk)
        tags = [tag] if tag else [each["tag"] for each in keeping.hand_made(found)]
        if not tags:
            self.say(f"No backup of {found} that was made by hand lies on {found.host}.")
        points = [actions.adopt_backup(system=found, tag=each, by=person) for each in tags]
        for point in points:
            self.say(f"{point.tag} was asked for.")
        if wait or local:
            points = [self.follow_backup(point) for point in points]
        self.finish({"system": found.name, "points": [self.told(point) for point in points]})
        if (wait or local) and any(point.state != RestorePointState.VERIFIED for point in points):
            raise SystemExit(1)

    def told(self, point: RestorePoint) -> dict[str, Any]:
        for words in [*([point.problem] if point.problem else []), *(f"lacks {each}" for each in point.lacks)]:
            self.say(f"{point.tag}: {words}")
        return {"tag": point.tag, "state": point.state, "commit": point.commit, "lacks": point.lacks}
