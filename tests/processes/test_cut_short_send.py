"""A process that is killed while a mail server hangs: the next one knows of it, and sends again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.incidents.receivers import mail_server

PROJECT = Path(__file__).resolve().parents[2]
SETUP = "import django; django.setup()\n"
PUT = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from incidents import notify
from incidents.models import Event
call_command("migrate", verbosity=0)
ada = User.objects.create_user("ada", "ada@example.org")
with transaction.atomic():
    notify.put(Event.MOVED, key="one", to=[ada], subject="Down", text="Down", url="")
"""
DELIVER = "from incidents import delivery\ndelivery.deliver()\n"
LATER = """
import time_machine
from datetime import datetime, timedelta, UTC
from incidents import delivery
from incidents.models import Attempt
with time_machine.travel(datetime.now(UTC) + delivery.LEASE + timedelta(seconds=1)):
    delivery.deliver()
print(list(Attempt.objects.values_list("outcome", flat=True)))
"""


def begin(home: Path, port: int, words: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PORTAL_HOME": str(home),
        "DATABASE_URL": f"sqlite:///{home / 'db.sqlite3'}",
        "EMAIL_URL": f"smtp://127.0.0.1:{port}",
        "NOTIFY_SECONDS": "60",
    }
    out = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", SETUP + words], cwd=PROJECT, env=environment, stdout=out, text=True)


def test_a_killed_send_is_interrupted_and_sent_again(tmp_path: Path) -> None:
    assert begin(tmp_path, 1, PUT).wait(60) == 0
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        hangs.settimeout(60)
        sender = begin(tmp_path, hangs.getsockname()[1], DELIVER)
        talking, _ = hangs.accept()  # it is in the middle of sending: nobody will ever answer
        began = time.monotonic()
        os.kill(sender.pid, signal.SIGKILL)
        sender.wait(10)
        assert time.monotonic() - began < 10
        talking.close()
    with mail_server() as mailbox:
        said = begin(tmp_path, mailbox.port, LATER).communicate(timeout=60)[0]
    assert said.strip() == "['interrupted', 'sent']"
    assert [mail["To"] for mail in mailbox.mails] == ["ada@example.org"]
    assert "This may reach you twice" in mailbox.mails[0].get_content()
