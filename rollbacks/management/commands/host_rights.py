from __future__ import annotations

import json
import re
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rollbacks import actions
from rollbacks.actions import Unknown
from rollbacks.management.acting import WRONG_WORDS
from rollbacks.tools.service import unit_name

VERBS = ("start", "stop", "restart", "reset-failed")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

POLKIT = """\
// {title}
// On {host}: /etc/polkit-1/rules.d/50-portal-{system}.rules
polkit.addRule(function (action, subject) {{
    if (action.id == "org.freedesktop.systemd1.manage-units" &&
        action.lookup("unit") == {unit} &&
        {verbs}.indexOf(action.lookup("verb")) >= 0 &&
        subject.user == {user}) {{
        return polkit.Result.YES;
    }}
}});
"""
SUDOERS = """\
# {title}
# On {host}: /etc/sudoers.d/portal-{system} (mode 0440; a name with a dot would not be read)
{user} ALL=(root) NOPASSWD: {commands}
"""


class Command(BaseCommand):
    help = "Print the rule that lets the worker start and stop this system's unit, and nothing else (docs/hosts.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", metavar="SYSTEM")
        parser.add_argument(
            "--format", choices=("polkit", "sudoers"), default="polkit", help="sudoers: where there is no polkitd"
        )
        parser.add_argument("--user", default="portal", help="whom the host's worker runs as (default: portal)")

    def handle(self, *, system: str, format: str, user: str, **options: Any) -> None:
        try:
            found = actions.find_system(system)
        except Unknown as error:
            raise CommandError(str(error), returncode=WRONG_WORDS) from error
        service = found.manifest.service
        if not USER.fullmatch(user):
            raise CommandError(f"{user!r} is no user's name.", returncode=WRONG_WORDS)
        if service.manager != "systemd":
            raise CommandError(
                f"{found} is not run by systemd but by {service.manager}: its worker needs no right for it.",
                returncode=1,
            )
        values = {
            "title": f"Lets {user} {', '.join(VERBS[:-1])} and {VERBS[-1]} {unit_name(service.unit)}.",
            "host": found.host,
            "system": found.name,
        }
        make = polkit if format == "polkit" else sudoers
        self.stdout.write(make(unit_name(service.unit), user, values), ending="")


def polkit(unit: str, user: str, values: dict[str, str]) -> str:
    return POLKIT.format(unit=json.dumps(unit), verbs=json.dumps(VERBS), user=json.dumps(user), **values)


def sudoers(unit: str, user: str, values: dict[str, str]) -> str:
    """The words are matched to the letter: they are those of rollbacks.tools.service.Systemd."""
    escaped = unit.replace(":", r"\:")
    commands = ", ".join(f"/usr/bin/systemctl {verb} {escaped}" for verb in VERBS)
    return SUDOERS.format(user=user, commands=commands, **values)
