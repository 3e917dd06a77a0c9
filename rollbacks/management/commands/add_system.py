from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from rollbacks import actions
from rollbacks.management.acting import WRONG_WORDS, ActingCommand


class Command(ActingCommand):
    help = "Create or update a system from its manifest (system.toml). Without --as the portal itself does it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        super().add_arguments(parser)

    def act(self, *, file: Path, username: str | None, **options: Any) -> None:
        try:
            text = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}", returncode=WRONG_WORDS) from error
        system, created = actions.add_system(by=self.person() if username else None, text=text)
        self.say(f"{system} was {'added' if created else 'updated'}.")
        self.finish({"system": system.name, "created": created})
