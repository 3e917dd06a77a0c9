from __future__ import annotations

from typing import Any

from incidents import reach
from rollbacks.management.acting import ActingCommand


class Command(ActingCommand):
    help = "Asks every emergency contact to confirm that each of their channels reaches them."

    def act(self, **options: Any) -> None:
        made = reach.ask(by=self.person())
        for each in made:
            self.say(f"{each.to} is asked by {each.by_way}")
        self.say(f"{len(made)} asked; who does not confirm shows on the contacts' page")
        self.finish({"asked": len(made)})
