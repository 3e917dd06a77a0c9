from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from portal.ledger.moves import MoveRefused
from rollbacks import checklist
from rollbacks.management.acting import ActingCommand
from rollbacks.management.commands.approve import find_rollback

MARKS = {
    checklist.Status.TICKED: "[x]",
    checklist.Status.OPEN: "[ ]",
    checklist.Status.LATER: "[~]",
    checklist.Status.NOT_HERE: "[-]",
}


class Command(ActingCommand):
    help = "Print the checklist of a rollback. Exit 0 for go, 1 for no-go. Anybody may read it; --wait changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, metavar="ID")
        super().add_arguments(parser)

    def act(self, *, id: int, **options: Any) -> None:
        self.rollback = rollback = find_rollback(id)
        listed = checklist.read(rollback)
        if listed is None:
            raise MoveRefused(f"{rollback} is {rollback.get_state_display().lower()}: it has no checklist.", rollback)
        for part in listed.parts:
            self.say(f"{part.name} ({part.ticked} of {part.count})")
            for item in part.items:
                self.say(f"  {MARKS[item.status]} {item}")
        self.say(listed.verdict)
        items = {item.key: str(item.status) for part in listed.parts for item in part.items}
        self.finish({"id": rollback.pk, "state": rollback.state, "go": listed.is_go, "items": items})
        if not listed.is_go:
            raise SystemExit(1)
