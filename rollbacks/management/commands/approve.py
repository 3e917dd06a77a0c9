from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from rollbacks import actions
from rollbacks.actions import Unknown
from rollbacks.management.acting import ActingCommand
from rollbacks.models import Rollback

DIGEST = "the digest of the plan that you read, or its beginning (default: the newest plan's)"


def find_rollback(pk: int) -> Rollback:
    """Raises Unknown."""
    found = Rollback.objects.filter(pk=pk).first()
    if found is None:
        newest = Rollback.objects.order_by("-pk").values_list("pk", flat=True).first()
        raise Unknown(f"There is no rollback {pk}. {f'The newest is {newest}.' if newest else 'There is none yet.'}")
    return found


class Command(ActingCommand):
    help = "Vote for a rollback."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, metavar="ID")
        parser.add_argument("--reason", default="", metavar="R")
        parser.add_argument("--digest", default="", metavar="D", help=DIGEST)
        super().add_arguments(parser)

    def act(self, *, id: int, reason: str, digest: str, wait: bool, local: bool, **options: Any) -> None:
        self.rollback = find_rollback(id)
        rollback = actions.approve(id, by=self.person(), note=reason, digest=digest)
        self.say(f"{rollback} is {rollback.get_state_display().lower()}")
        self.warn(rollback)
        if wait or local:
            rollback = self.follow_rollback(rollback, voted_on=rollback.plan_now)
        self.end_rollback(rollback, must_succeed=wait or local)
