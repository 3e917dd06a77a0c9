from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from portal.ledger.machines import diagram, machines, table, who
from portal.ledger.moves import StateModel
from portal.ledger.roles import Role
from rollbacks.models import DecisionRule, Rollback

HEAD = """# State machines

Written by `python manage.py states > docs/states.md` from the code; a test compares it with the code, and makes every
move of every table with real people. The table of the rollback is that of a rule which asks for one Tech Lead, seen
by people who did not ask for the rollback themselves: the requester may never approve or reject it (unless the rule is
Immediate), and may always cancel it.
"""


def example(model: type[StateModel]) -> StateModel:
    """An object as the table means it."""
    if model is Rollback:
        return Rollback(requested_by_id=-1, rule=DecisionRule(role=Role.TECH_LEAD.value))
    return model()


def document() -> str:
    parts = [HEAD]
    for model in machines():
        name = str(model._meta.verbose_name).capitalize()
        parts.append(f"## {name}\n\n{diagram(model)}\n\n{who(model)}\n\n{table(model, example(model))}\n")
    return "\n".join(parts)


class Command(BaseCommand):
    help = "Print docs/states.md: every state machine as diagram and table, from the code."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(document(), ending="")
