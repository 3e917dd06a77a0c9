from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from incidents import actions as incidents
from incidents.models import Incident, Scope, Severity
from portal import stack
from portal.ledger.moves import NotAllowed
from portal.management.commands.up import Progress, interruptible, running
from portal.sample import control, layout
from rollbacks import actions, people
from rollbacks.log_format import markdown
from rollbacks.models import (
    ENDED,
    Health,
    RestorePoint,
    RestorePointState,
    Rollback,
    RollbackLogEntry,
    RollbackState,
    System,
)
from rollbacks.tools import git, probe

PATIENCE = 180.0  # seconds for each thing that a worker does
LOOK = 0.1


class Command(BaseCommand):
    help = "Plays the story without a person: a backup, a bad release, its incident, its approved rollback."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8600, help="for the pages, when the portal is not running yet")

    def handle(self, *, port: int, **options: Any) -> None:
        began = time.monotonic()
        try:
            with interruptible(), portal(port, Progress(self.stdout)):
                self.play()
        except KeyboardInterrupt:
            raise CommandError("interrupted") from None
        except (stack.StackError, layout.LayoutError, TimeoutError) as error:
            raise CommandError(str(error)) from error
        self.tell(f"Done in {time.monotonic() - began:.0f} s.")

    def play(self) -> None:
        try:
            system = System.objects.get(name=layout.NAME)
            oncall, lead = User.objects.get(username="oncall"), User.objects.get(username="techlead")
        except (System.DoesNotExist, User.DoesNotExist) as error:
            raise CommandError(
                "the portal that runs here has no sample, or no demo people (up --no-sample, PORTAL_DEMO=off). "
                "Nothing was changed. End it, and play the demo in a portal of its own: make demo PORTAL_HOME=/tmp/demo"
            ) from error
        point = self.back_up(system, oncall)
        incident = self.break_it(system, oncall)
        rollback = self.ask(system, point, incident, oncall)
        self.approve(rollback, oncall, lead)
        self.follow(rollback)
        self.prove(rollback, point)

    def back_up(self, system: System, oncall: User) -> RestorePoint:
        self.tell(f"{oncall.get_full_name()} (On-Call Engineer) backs {system} up")
        made = actions.backup(system=system, by=oncall, reason="Before release 1.3.0")
        point = until(
            lambda: RestorePoint.objects.get(pk=made.pk), lambda now: hasattr(now, "run") and now.run.ended_at
        )
        if point.state != RestorePointState.VERIFIED:
            raise CommandError(f"the backup is {point.state}: {point.problem}")
        self.tell(f"  {point.tag}: {', '.join(point.parts)}; {point.size} bytes, every hash read back")
        return point

    def break_it(self, system: System, oncall: User) -> Incident:
        self.tell("A bad release is deployed: it starts, and then answers 500")
        control.deploy_bad(settings.HOME / "sample")
        began = time.monotonic()
        sick = until(lambda: System.objects.get(pk=system.pk), lambda now: now.health == Health.UNHEALTHY)
        self.tell(f"  seen unhealthy after {time.monotonic() - began:.1f} s: {sick.health_detail}")
        incident = incidents.declare(
            by=oncall, title=f"{system} answers 500 since 1.3.0", severity=Severity.HIGH, scope=Scope.MULTIPLE
        )
        system.incidents.add(incident)
        incidents.acknowledge(incident.pk, by=oncall)
        self.tell(f"  {incident} is declared and acknowledged: High, multiple components")
        return incident

    def ask(self, system: System, point: RestorePoint, incident: Incident, oncall: User) -> Rollback:
        asked = actions.request(
            system=system,
            by=oncall,
            procedure="code",
            target=point.tag,
            severity=incident.severity,
            scope=incident.scope,
            reason=incident.title,
            incident=incident,
        )
        self.tell(f"{asked} is asked for. {asked.decision}")
        rollback = until(lambda: load(asked), lambda now: now.state != RollbackState.PLANNING)
        if rollback.state != RollbackState.AWAITING_APPROVAL:
            raise CommandError(f"{rollback} is {rollback.state}: {rollback.trouble}")
        self.show_plan(rollback)
        return rollback

    def show_plan(self, rollback: Rollback) -> None:
        plan = rollback.plan_now
        assert plan is not None
        shown = plan.body["shown"]
        self.tell(f"  the plan: about {shown['outage_seconds']:g} s of outage, digest {plan.digest[:12]}")
        for commit in shown["left_behind"]:
            self.tell(f"    leaves behind  {commit['sha'][:10]}  {commit['subject']}")
        for each in shown["packages"]:
            self.tell(f"    package        {each['name']}: {each['from'] or 'absent'} → {each['to'] or 'absent'}")
        for each in shown["configuration"]:
            self.tell(f"    configuration  {each['key']}: {each['from'] or 'absent'} → {each['to'] or 'absent'}")
        for each in people.approvers(rollback):
            self.tell(f"  may approve: {each.name} ({each.role}), {', '.join(each.reach)}")

    def approve(self, rollback: Rollback, oncall: User, lead: User) -> None:
        try:
            actions.approve(rollback.pk, by=oncall)
        except NotAllowed as error:
            self.tell(f"  refused, as it should be: {error}")
        else:
            raise CommandError("the requester could approve their own request")
        actions.approve(rollback.pk, by=lead, note="Plan read")
        self.tell(f"{lead.get_full_name()} (Tech Lead) approves")

    def follow(self, rollback: Rollback) -> None:
        shown: set[int] = set()

        def look() -> Rollback:
            for step in rollback.run.steps.filter(state="done").exclude(number__in=shown):
                shown.add(step.number)
                self.tell(f"  {step} ({step.seconds:.2f} s)")
            return load(rollback)

        over = [RollbackState.MONITORING, RollbackState.HELD, RollbackState.AWAITING_APPROVAL, *ENDED]
        ended = until(look, lambda now: now.state in over)
        look()
        if ended.state not in (RollbackState.MONITORING, RollbackState.COMPLETED):
            raise CommandError(f"{ended} is {ended.state}: {ended.trouble}")

    def prove(self, rollback: Rollback, point: RestorePoint) -> None:
        """The service is healthy, on the commit of the restore point: asked of the host, not of the database."""
        manifest = rollback.system.manifest
        health, head = probe.health(manifest.health_url), git.head(manifest.root)
        if not health.ok or head.commit != point.commit:
            raise CommandError(f"the service is not back: {health.detail}, at {head.commit[:10]}")
        self.tell(f"The service is healthy ({health.detail}) on the restored release {head.commit[:10]}")
        for line in rollback.incident.timeline.all() if rollback.incident else ():
            self.tell(f"  {line.at:%H:%M:%S}  {line.text}")
        self.stdout.write("")
        self.stdout.write(markdown(RollbackLogEntry.objects.filter(rollback=rollback).select_related("rollback")))
        call_command("verify_ledger", stdout=self.stdout)
        if load(rollback).state == RollbackState.MONITORING:
            by = User.objects.get(username="oncall")
            actions.complete(rollback.pk, by=by, note="The demo does not wait for the watch to end")
        if rollback.incident is not None:
            incidents.resolve(rollback.incident.pk, by=User.objects.get(username="oncall"))

    def tell(self, text: str) -> None:
        with suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()


def load(rollback: Rollback) -> Rollback:
    return Rollback.objects.select_related("system", "incident", "rule", "run").get(pk=rollback.pk)


def until(look: Callable[[], Any], done: Callable[[Any], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not done(found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {PATIENCE:.0f} s: are the workers alive? See .portal/logs")
        time.sleep(LOOK)
    return found


@contextmanager
def portal(port: int, progress: Progress) -> Iterator[None]:
    """The portal that runs here already (make up), else one of our own for as long as the story takes."""
    try:
        with stack.only_one(settings.HOME, stack.address(port)), running(port, True, True, progress):
            yield
    except stack.AlreadyRunningError as error:
        progress.write(f"{error}: the story is played there")
        yield
