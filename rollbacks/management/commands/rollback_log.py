from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rollbacks import actions
from rollbacks.log_format import FORMATS, row
from rollbacks.management.acting import ActingCommand
from rollbacks.models import RollbackLogEntry


class Command(ActingCommand):
    help = (
        "The rollback log; Markdown is the guide's own format. Anybody may read it; --wait and --local change nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--system", metavar="S")
        parser.add_argument("--format", choices=FORMATS, default="markdown")
        super().add_arguments(parser)

    def act(self, *, system: str | None, format: str, username: str | None, json: bool, **options: Any) -> None:
        if username:
            self.person()
        entries = RollbackLogEntry.objects.select_related("rollback", "rollback__system")
        if system:
            entries = entries.filter(rollback__system=actions.find_system(system))
        if json:
            self.finish({"entries": [row(entry) for entry in entries]})
        else:
            for piece in FORMATS[format][1](entries):
                self.stdout.write(piece, ending="")
