from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rollbacks import actions
from rollbacks.management.acting import ActingCommand


class Command(ActingCommand):
    help = "Pre-deployment backup of a system: a restore point."
    keys = ("tag", "commit")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", metavar="SYSTEM")
        parser.add_argument("--reason", default="", metavar="R")
        super().add_arguments(parser)

    def act(self, *, system: str, reason: str, wait: bool, local: bool, **options: Any) -> None:
        point = actions.backup(system=actions.find_system(system), by=self.person(), reason=reason)
        self.say(f"{point.tag} was asked for.")
        if wait or local:
            point = self.follow_backup(point)
        self.end_backup(point, must_succeed=wait or local)
