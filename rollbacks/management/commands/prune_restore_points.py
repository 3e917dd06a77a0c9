from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rollbacks import actions, keeping
from rollbacks.management.acting import ActingCommand
from rollbacks.models import System


class Command(ActingCommand):
    help = "Lets go of the restore points that each system's [retention] no longer keeps; tells why the others stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", metavar="SYSTEM", nargs="?", default="")
        parser.add_argument("--dry-run", action="store_true", help="only tell what would go, and what stays, and why")
        super().add_arguments(parser)

    def act(self, *, system: str, dry_run: bool, local: bool, **options: Any) -> None:
        systems = [actions.find_system(system)] if system else list(System.objects.filter(retired=False))
        going: list[str] = []
        for each in systems:
            for verdict in keeping.verdicts(each):
                self.say(f"{each} {verdict.point.tag}: {'stays' if verdict.stays else 'GOES'}, {verdict.why}")
                going += [] if verdict.stays or not dry_run else [f"{each} {verdict.point.tag}"]
            if not dry_run:
                going += [f"{each} {point.tag}" for point in actions.prune(system=each, by=self.person())]
                if local:
                    keeping.remove_pruned(each)
        self.say(f"{len(going)} {'would go' if dry_run else 'let go of'}")
        self.finish({"dry_run": dry_run, "gone": going})
