"""Celery as a door to the outbox. A hint may be lost, late, or come twice: the rows are the truth; beat asks too."""

from __future__ import annotations

import logging
from typing import Any

from celery import current_app, shared_task
from kombu.exceptions import KombuError, OperationalError

from incidents import auditor, delivery

log = logging.getLogger(__name__)

QUEUE = "notify"
IMPATIENT = {"socket_timeout": 2, "socket_connect_timeout": 2}  # seconds: a page does not wait for a broker that hangs
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
        with current_app.connection_for_write(transport_options=IMPATIENT) as connection:
            task.apply_async(queue=QUEUE, expires=HINT_SECONDS, retry=False, connection=connection)
    except (KombuError, OperationalError, OSError) as error:
        log.warning("the broker is down (%s): messages wait for it", error)
        return False
    return True


def hint() -> None:
    """Look now."""
    send(deliver)
