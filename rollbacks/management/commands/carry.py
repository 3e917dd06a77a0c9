from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rollbacks.management.acting import ActingCommand
from rollbacks.management.commands.approve import find_rollback


class Command(ActingCommand):
    help = (
        "Carry a rollback on in this process, from where it stands: after --local was interrupted, or when it is "
        "approved and no worker comes. Does what a worker would do, and nothing that nobody has approved."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, metavar="ID")
        super().add_arguments(parser)
        parser.set_defaults(local=True)

    def act(self, *, id: int, **options: Any) -> None:
        self.rollback = find_rollback(id)
        self.end_rollback(self.follow_rollback(self.rollback), must_succeed=True)
