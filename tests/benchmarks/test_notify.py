"""A thousand messages a minute: from the move to the mail server's yes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import connection, transaction

from incidents import delivery, notify
from incidents.models import Event, Notification
from tests.benchmarks.report import percentile
from tests.incidents.receivers import mail_server

MESSAGES, SECONDS = 1000, 60.0


def put_all() -> None:
    """One every 60 ms, each to an address of its own."""
    began = time.monotonic()
    for number in range(MESSAGES):
        time.sleep(max(0.0, began + number * SECONDS / MESSAGES - time.monotonic()))
        to = [f"p{number}@example.org"]
        with transaction.atomic():
            notify.put(Event.MOVED, key=f"{number}", to=[], emails=to, subject="x", text="x", url="")
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_thousand_messages_a_minute(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with mail_server() as box:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", box.port
        putting = threading.Thread(target=put_all)
        putting.start()
        while putting.is_alive() or Notification.objects.exclude(state="sent").exists():
            delivery.deliver()
            time.sleep(0.02)  # as far apart as hints come
        rows = Notification.objects.select_related("message")
        took = [each.took or 0.0 for each in rows]
    assert len(box.mails) == MESSAGES
    print(f"p50 {percentile(took, 50):.2f} s, p99 {percentile(took, 99):.2f} s, longest {max(took):.2f} s")
    assert percentile(took, 99) < 5
