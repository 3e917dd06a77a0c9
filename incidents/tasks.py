"""Celery as a door to the outbox. A hint may be lost, late, or come twice: the rows are the truth; beat asks too."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import current_app, shared_task
from kombu.exceptions import KombuError, OperationalError

from incidents import auditor, delivery

log = logging.getLogger(__name__)

BROKER_DOWN = (KombuError, OperationalError, OSError)
silent = {"until": 0.0}  # of this process, by its monotonic clock

QUEUE = "notify"
IMPATIENT = {"socket_timeout": 2, "socket_connect_timeout": 2}  # seconds: a page does not wait for a broker that hangs
SILENT_SECONDS = 5.0  # after a try that failed nobody tries again for so long: a page that tells five waits for one
HINT_SECONDS = 60  # for which a hint is kept: where nobody takes them, they must not pile up


@shared_task(time_limit=600)
def deliver() -> None:
    """Send what is due."""
    delivery.deliver()


@shared_task(time_limit=60)
def audit_notifications() -> None:
    """Compare what should have been said with what was."""
    auditor.audit()


def send(task: Any) -> bool:
    """False when the broker is down: nothing is lost, it only takes until the next look."""
    try:
        post(task, QUEUE, expires=HINT_SECONDS)
    except BROKER_DOWN as error:
        log.warning("the broker is down (%s): messages wait for it", error)
        return False
    return True


def post(task: Any, queue: str, args: tuple[Any, ...] = (), expires: float | None = None) -> None:
    """A hint, on a connection of its own, which has little patience: a page must not wait for a broker that hangs.
    Raises one of BROKER_DOWN, at once when it was down a moment ago."""
    if time.monotonic() < silent["until"]:
        raise OSError("it did not answer a moment ago")
    try:
        with current_app.connection_for_write(transport_options=IMPATIENT) as connection:
            task.apply_async(args=args, queue=queue, expires=expires, retry=False, connection=connection)
    except BROKER_DOWN:
        silent["until"] = time.monotonic() + SILENT_SECONDS
        raise


def hint() -> None:
    """Look now."""
    send(deliver)
