from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import CommandError

from incidents.models import OPEN, Incident, Scope, Severity
from rollbacks import actions, runner
from rollbacks.actions import Unknown
from rollbacks.management.acting import WRONG_WORDS, ActingCommand
from rollbacks.models import Rollback, RollbackState, System
from rollbacks.procedures.known import ROLLBACKS

SHOWN = 5  # restore points that are listed, as the guide's script does


class Command(ActingCommand):
    help = "Ask for a rollback of a system. Without --to it lists the newest restore points, and asks for nothing."
    keys = ("id", "downtime_seconds")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", metavar="SYSTEM")
        parser.add_argument("--procedure", default="code", choices=ROLLBACKS)
        parser.add_argument("--to", metavar="POINT_OR_COMMIT")
        parser.add_argument("--with-configuration", action="store_true", help="code: the restore point's configuration")
        parser.add_argument("--component", default="", metavar="C", help="partial: which component")
        parser.add_argument("--into", default="", metavar="DIRECTORY", help="full: an empty directory, on the host")
        parser.add_argument("--set-logs-aside", action="store_true", help="state: the logs are set aside too")
        parser.add_argument("--reset-metrics", action="store_true", help="state: the metrics are reset too")
        parser.add_argument("--severity", choices=Severity.values)
        parser.add_argument("--scope", choices=Scope.values)
        parser.add_argument("--reason", metavar="R")
        parser.add_argument(
            "--incident", type=int, metavar="ID", help="default: the open incident that names the system"
        )
        super().add_arguments(parser)

    def act(
        self, *, system: str, to: str | None, incident: int | None, wait: bool, local: bool, **options: Any
    ) -> None:
        found = actions.find_system(system)
        if not to:
            self.list_points(found)
        for name in ("severity", "scope", "reason"):
            if not options[name]:
                raise CommandError(f"--{name} is needed: the decision matrix and the log ask for it.", returncode=2)
        self.rollback = rollback = actions.request(
            system=found,
            by=self.person(),
            procedure=options["procedure"],
            target=to,
            severity=options["severity"],
            scope=options["scope"],
            reason=options["reason"],
            incident=self.incident(incident, found),
            **{name: options[name] for name in actions.WISHES},
        )
        self.say(f"{rollback} of {found} was asked for. {rollback.decision}")
        if wait:
            rollback = self.follow_rollback(rollback)
        elif local:
            runner.carry(rollback.run.pk)
            rollback = Rollback.objects.get(pk=rollback.pk)
            self.say(f"{rollback} is {rollback.get_state_display().lower()}")
            self.warn(rollback)
            if rollback.state == RollbackState.AWAITING_APPROVAL:
                self.say(f"It waits for a vote: python manage.py approve {rollback.pk} --as … --local --wait")
        self.end_rollback(rollback, must_succeed=wait)

    def incident(self, pk: int | None, system: System) -> Incident | None:
        if pk is None:
            return actions.open_incident(system)
        found = Incident.objects.filter(pk=pk).first()
        if found is None:
            known = ", ".join(str(each.pk) for each in Incident.objects.filter(state__in=OPEN)[:SHOWN])
            raise Unknown(f"There is no incident {pk}. {f'Open are {known}.' if known else 'None is open.'}")
        return found

    def list_points(self, system: System) -> NoReturn:
        points = [point for point in system.restore_points.all()[:50] if point.is_target][:SHOWN]
        self.say(f"Say where to with --to. The newest restore points of {system}:")
        for point in points:
            self.say(f"  {point.tag}  {point.commit[:10]}  {point.get_state_display().lower()}  {point.reason}")
        if not points:
            self.say(f"  none yet: a commit or tag of the system can be given, or make one: backup {system}")
        self.finish({"system": system.name, "restore_points": [point.tag for point in points]})
        raise SystemExit(WRONG_WORDS)
