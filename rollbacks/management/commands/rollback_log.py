from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rollbacks import actions
from rollbacks.actions import Unknown
from rollbacks.log_format import FORMATS
from rollbacks.management.acting import WRONG_WORDS
from rollbacks.models import RollbackLogEntry


class Command(BaseCommand):
    help = "The rollback log; Markdown is the guide's own format."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--system", metavar="S")
        parser.add_argument("--format", choices=FORMATS, default="markdown")

    def handle(self, *args: Any, **options: Any) -> None:
        entries = RollbackLogEntry.objects.select_related("rollback", "rollback__system")
        if options["system"]:
            try:
                entries = entries.filter(rollback__system=actions.find_system(options["system"]))
            except Unknown as error:
                raise CommandError(str(error), returncode=WRONG_WORDS) from error
        self.stdout.write(FORMATS[options["format"]][1](entries), ending="")
