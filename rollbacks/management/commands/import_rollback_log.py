from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from rollbacks import actions
from rollbacks.actions import Unknown
from rollbacks.log_format import NotALog, read_markdown
from rollbacks.management.acting import ActingCommand


class Command(ActingCommand):
    help = (
        "Reads a rollback log in the guide's format, so that a team brings its history. Its entries are marked as "
        "imported; the same one is taken once. --wait and --local change nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--system", metavar="S", help="whose log it is, where the portal knows the system")
        super().add_arguments(parser)

    def act(self, *, file: Path, system: str | None, **options: Any) -> None:
        try:
            entries = read_markdown(file.read_text())
        except OSError as error:
            raise Unknown(f"{file} cannot be read: {error.strerror}. Nothing was imported.") from error
        except (NotALog, UnicodeDecodeError) as error:
            raise Unknown(f"{file} is no rollback log: {error}. Nothing was imported.") from error
        found = actions.find_system(system) if system else None
        new, known = actions.import_log(entries, by=self.person(), system=found)
        self.say(f"{new} entries were imported, {known} were there already.")
        self.finish({"imported": new, "known": known})
