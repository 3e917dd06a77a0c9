"""Celery as a door: each task fetches and calls the runner. Any of them may be lost, late, or run twice."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from incidents import escalation
from incidents.tasks import BROKER_DOWN, post
from rollbacks import keeping, notices, runner, watching
from rollbacks.models import RestorePoint, Run, System
from rollbacks.tools import probe

log = logging.getLogger(__name__)

FACTS_SECONDS = 10  # between two looks at what is deployed
AT_ONCE = 16  # systems whose health one worker asks for at the same time
TEND_SECONDS = 600  # that one look at the restore points may take: the next one goes on
HINT_SECONDS = 600  # for which a sweeper's hint is kept: where nobody takes them, they must not pile up


@shared_task
def carry(run: int) -> None:
    """Take a run as far as it goes."""
    runner.carry(run)


@shared_task
def sweep() -> None:
    """Hand on what has no living lease, what was approved but never started, and end what has expired."""
    for run in runner.due():
        send(carry, run.system.queue, run.pk, expires=HINT_SECONDS)
    runner.expire()


@shared_task(time_limit=60)
def escalate() -> None:
    """What nobody has answered in its time goes to the next contact."""
    escalation.escalate()
    notices.escalate()


@shared_task(time_limit=60)
def remind() -> None:
    """Overdue action items: their owners, and then a Tech Lead."""
    escalation.remind()


@shared_task
def watch_health() -> None:
    """Ask each host's worker to look at its systems."""
    for host in System.objects.filter(retired=False).values_list("host", flat=True).distinct():
        send(look, f"watch.{host}", host, expires=settings.HEALTH_SECONDS * 2)


@shared_task
def look(host: str) -> None:
    """Look at every system of this host: its health, and (when that turns, or after 10 s) what is deployed."""
    systems = list(System.objects.filter(host=host, retired=False).order_by(F("facts_at").asc(nulls_first=True)))
    asked, began = timezone.now(), time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(ask, system) for system in systems]
    turned = [system for system, answer in zip(systems, answers, strict=True) if turns(system, answer, asked)]
    for system in systems:  # afterwards: no system's health waits for the files of another, nor does the next look
        in_time = time.monotonic() - began < settings.HEALTH_SECONDS
        if system in turned or (in_time and is_stale(system)):
            runner.refresh(system)


def ask(system: System) -> probe.Health | None:
    url = system.manifest.health_url
    return probe.health(url) if url else None


def turns(system: System, answer: Future[probe.Health | None], asked: datetime) -> bool:
    """Enter the answer. One system that cannot be asked (somebody wrote past the form) leaves no other unwatched; what
    is wrong with it is then said on its page."""
    try:
        return runner.look(system, answer.result(), asked)
    except Exception:
        log.exception("entering the health of %s", system)
        return True


def is_stale(system: System) -> bool:
    return system.facts_at is None or (timezone.now() - system.facts_at).total_seconds() > FACTS_SECONDS


# --- restore points: in a worker of their own, for reading a large one takes seconds ----------------------------------


@shared_task
def tend_restore_points() -> None:
    """Ask each host's keeper to look after its restore points."""
    for host in System.objects.filter(retired=False).values_list("host", flat=True).distinct():
        send(tend, f"keep.{host}", host, expires=settings.TEND_SECONDS * 2)


@shared_task
def tend(host: str) -> None:
    """Take off the disk what was let go of, and read back what was not for a day; never while a run is at work here."""
    for system in System.objects.filter(host=host):
        keeping.remove_pruned(system)
    began = time.monotonic()
    for point in keeping.unread(host):
        if time.monotonic() - began > TEND_SECONDS or keeping.is_busy(point.system):
            return
        keeping.read_back(point.pk, whole=False)


@shared_task
def verify(pk: int) -> None:
    """Somebody wants to know now."""
    keeping.read_back(pk)


@shared_task
def prune() -> None:
    """Let go of old restore points, by each system's own rule (their hosts take them off their disks), and of the looks
    of old watches."""
    for system in System.objects.filter(retired=False):
        if keeping.prune(system):
            tend_soon(system)
    watching.forget()


def verify_soon(point: RestorePoint) -> None:
    transaction.on_commit(partial(send, verify, f"keep.{point.system.host}", point.pk, expires=HINT_SECONDS))


def tend_soon(system: System) -> None:
    transaction.on_commit(partial(send, tend, f"keep.{system.host}", system.host, expires=HINT_SECONDS))


# --- messages -------------------------------------------------------------------------------------------------------


def hint(run: Run) -> None:
    """Once the transaction is committed, tell the host's worker to look now. A lost hint is found by the sweeper."""
    transaction.on_commit(partial(send, carry, run.system.queue, run.pk))


def refresh_soon(system: System) -> None:
    transaction.on_commit(partial(send, look, f"watch.{system.host}", system.host))


def send(task: Any, queue: str, *args: Any, expires: float | None = None) -> bool:
    """False, and a line in the log, when the broker is down: nothing is lost, it only takes until the next sweep."""
    try:
        post(task, queue, args, expires)
    except BROKER_DOWN as error:
        level = logging.WARNING if task is carry else logging.DEBUG  # a look is asked for again in two seconds
        log.log(level, "the broker is down (%s): %s%s waits for the sweeper", error, task.name, args)
        return False
    return True


@worker_ready.connect
def sweep_at_start(**kwargs: Any) -> None:
    """A worker that comes up looks at once for what its predecessor left."""
    send(sweep, "portal")
