from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rollbacks import actions
from rollbacks.management.acting import ActingCommand
from rollbacks.management.commands.approve import DIGEST, find_rollback


class Command(ActingCommand):
    help = "Vote against a rollback: one vote is enough, with a reason."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, metavar="ID")
        parser.add_argument("--reason", required=True, metavar="R")
        parser.add_argument("--digest", default="", metavar="D", help=DIGEST)
        super().add_arguments(parser)

    def act(self, *, id: int, reason: str, digest: str, **options: Any) -> None:
        self.rollback = find_rollback(id)
        rollback = actions.reject(id, by=self.person(), note=reason, digest=digest)
        self.say(f"{rollback} is {rollback.get_state_display().lower()}")
        self.end_rollback(rollback, must_succeed=False)
