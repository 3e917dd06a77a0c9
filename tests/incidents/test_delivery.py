"""A message that a move causes arrives, once; or it is said why not."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone
from redis import Redis

from incidents import actions, auditor, delivery, notify, tasks
from incidents.models import (
    Attempt,
    Channel,
    Event,
    Incident,
    Message,
    Notification,
    Preference,
    Subscription,
    Way,
)
from portal.ledger.models import Ledger
from portal.stack import redis_server
from rollbacks import actions as rollbacks
from rollbacks.models import Rollback
from tests.incidents.receivers import Hook, Mailbox, free_port, http_receiver, mail_server

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
IncidentIn = Callable[[str], Incident]


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with mail_server() as box:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", box.port
        yield box


@pytest.fixture
def hook(settings: Any) -> Iterator[Hook]:
    settings.NOTIFY_PRIVATE_OK = True
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def say(to: User, text: str = "Look", **words: Any) -> Message | None:
    """Something to a person, as an action says it."""
    given = {"key": f"test:{Message.objects.count()}", "severity": "high", "subject": text, "text": text, "url": "/x/"}
    with transaction.atomic():
        return notify.put(Event.MOVED, to=[to], **{**given, **words})


def mails() -> list[Notification]:
    return list(Notification.objects.exclude(way=Way.BROWSER).order_by("pk"))


def states() -> list[str]:
    return [each.state for each in mails()]


def test_a_declared_incident_reaches_who_is_on_call_and_not_who_declared_it(
    mailbox: Mailbox, oncall: User, oncall2: User, tech_lead: User, engineer: User
) -> None:
    incident = actions.declare(by=oncall, title="<b>500</b>", severity="high", scope="multiple")
    assert mailbox.mails == [], "nothing is sent inside the move"
    delivery.deliver()
    assert mailbox.to() == ["oncall2@example.org", "techlead@example.org"]
    assert f"http://127.0.0.1:8000/incidents/{incident.pk}/" in mailbox.mails[0].get_content()
    assert states() == ["sent", "sent"]
    assert [each.took is not None for each in mails()] == [True, True]
    assert delivery.deliver() == 0


def test_a_move_that_is_taken_back_tells_nobody(mailbox: Mailbox, oncall: User, oncall2: User) -> None:
    with transaction.atomic():
        actions.declare(by=oncall, title="500", severity="high", scope="multiple")
        transaction.set_rollback(True)
    assert delivery.deliver() == 0
    assert Message.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_nothing_is_put_outside_a_transaction(oncall: User) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        notify.put(Event.MOVED, key="x", to=[oncall], subject="x", text="x", url="")


def test_the_same_key_tells_nobody_twice(mailbox: Mailbox, oncall: User) -> None:
    assert say(oncall, key="once") is not None
    assert say(oncall, key="once") is None
    delivery.deliver()
    assert len(mailbox.mails) == 1


def test_a_server_that_is_down_for_ten_minutes_gets_everything_afterwards(
    settings: Any, oncall: User, clock: time_machine.Traveller
) -> None:
    port = free_port()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    say(oncall)
    for _ in range(60):  # ten minutes, in the scheduler's steps
        delivery.deliver()
        clock.shift(10)
    assert states() == ["failed"]
    [backlog] = auditor.backlogs()
    assert (backlog.count, backlog.why, backlog.since) == (1, "the mail server does not take them", NOW)
    with mail_server(port) as box:
        clock.shift(600)
        delivery.deliver()
        assert box.to() == ["oncall@example.org"]
    assert states() == ["sent"]
    assert list(Attempt.objects.values_list("outcome", flat=True)) == ["failed"] * 4 + ["sent"]
    assert auditor.backlogs() == []


def test_what_never_arrives_is_given_up_and_the_audit_says_so(
    mailbox: Mailbox, oncall: User, clock: time_machine.Traveller
) -> None:
    mailbox.answer = "550 no such user"
    say(oncall, expires=NOW + timedelta(days=2))
    for _ in range(len(delivery.BACK_OFF) + 1):
        delivery.deliver()
        clock.shift(7300)
    assert states() == ["dead"]
    clock.move_to(Attempt.objects.latest("pk").began_at)
    assert auditor.audit().findings == ["“Look” did not reach Amara Okafor by Mail: oncall@example.org"]


def test_a_request_that_was_decided_is_not_announced_late(mailbox: Mailbox, tech_lead: User, planned: Rollback) -> None:
    wanted = Notification.objects.filter(message__event=Event.APPROVAL)
    assert {each.person for each in wanted} == {tech_lead}
    rollbacks.approve(planned.pk, by=tech_lead)
    delivery.deliver()
    assert {each.state for each in wanted.all()} == {"superseded"}
    said = [mail["Subject"] for mail in mailbox.mails]
    assert f"[High] Rollback {planned.pk} of agents is decided" in said
    assert not [each for each in said if "waits for your approval" in each]


def test_what_nobody_needs_to_hear_any_more_expires(
    mailbox: Mailbox, oncall: User, clock: time_machine.Traveller
) -> None:
    say(oncall, expires=NOW + timedelta(minutes=5))
    clock.shift(301)
    delivery.deliver()
    assert (states(), mailbox.mails) == (["expired"], [])


def test_more_than_three_in_two_minutes_go_out_as_one(
    mailbox: Mailbox, oncall: User, clock: time_machine.Traveller
) -> None:
    for number in range(3):
        say(oncall, f"number {number}")
        delivery.deliver()
    for number in range(3, 9):
        say(oncall, f"number {number}")
        delivery.deliver()
    assert len(mailbox.mails) == 3
    clock.shift(121)
    delivery.deliver()
    assert len(mailbox.mails) == 4
    assert mailbox.mails[-1]["Subject"].startswith("6 messages: ")
    assert all(f"number {number}" in mailbox.mails[-1].get_content() for number in range(3, 9))
    assert states() == ["sent"] * 9


def test_critical_waits_for_no_bundle_and_no_quiet_hours(
    mailbox: Mailbox, oncall: User, clock: time_machine.Traveller
) -> None:
    Preference.objects.create(
        person=oncall, quiet_from=datetime(1, 1, 1, 22).time(), quiet_to=datetime(1, 1, 1, 7).time(), zone="Asia/Tokyo"
    )  # until 22:00 UTC the day before; from 13:00 UTC
    clock.move_to(NOW.replace(hour=14))
    for number in range(5):
        say(oncall, f"critical {number}", severity="critical")
    say(oncall, "calm")
    delivery.deliver()
    assert len(mailbox.mails) == 5
    assert mails()[-1].due_at == NOW.replace(hour=22)
    Message.objects.update(expires_at=NOW + timedelta(days=1))
    clock.move_to(NOW.replace(hour=22, minute=1))
    delivery.deliver()
    assert mailbox.mails[-1]["Subject"] == "calm"


def test_what_a_person_does_not_want_comes_in_the_portal_only(mailbox: Mailbox, oncall: User) -> None:
    Preference.objects.create(person=oncall, unwanted_events=[Event.MOVED])
    say(oncall)
    delivery.deliver()
    assert mailbox.mails == []
    assert Notification.objects.get().way == Way.BROWSER


def test_a_send_that_was_cut_short_is_known_as_such_and_tried_again(
    mailbox: Mailbox, oncall: User, clock: time_machine.Traveller
) -> None:
    say(oncall)
    assert delivery.claim_for("oncall@example.org") is not None  # and then the process dies
    assert delivery.deliver() == 0, "its lease is not over"
    clock.shift(delivery.LEASE.total_seconds() + 1)
    delivery.deliver()
    assert list(Attempt.objects.values_list("outcome", flat=True)) == ["interrupted", "sent"]
    assert "This may reach you twice" in mailbox.mails[0].get_content()


def test_a_yes_that_comes_late_counts(oncall: User, clock: time_machine.Traveller) -> None:
    say(oncall)
    claim = delivery.claim_for("oncall@example.org")
    assert claim is not None
    clock.shift(delivery.LEASE.total_seconds() + 1)
    delivery.take_back()
    delivery.ended(claim, "")
    assert states() == ["sent"]


def test_two_that_look_at_once_do_not_send_the_same(oncall: User) -> None:
    say(oncall)
    assert delivery.claim_for("oncall@example.org") is not None
    assert delivery.claim_for("oncall@example.org") is None


def test_a_service_gets_it_and_its_secrets_are_nowhere_else(
    hook: Hook, oncall: User, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"json://robot:hook-secret-token@127.0.0.1:{hook.port}/room"
    Channel.objects.create(person=oncall, way=Way.APPRISE, label="Chat", address=address, verified_at=timezone.now())
    say(oncall, "The disk is full")
    delivery.deliver()
    assert [each["title"] for each in hook.said] == ["The disk is full"]
    hook.status = 403
    say(oncall, "Again")
    delivery.deliver()
    assert states() == ["sent", "failed"]
    kept = [*Attempt.objects.values_list("detail", flat=True), *Ledger.objects.values_list("details", flat=True)]
    shown = " ".join([*kept, caplog.text, *(each.by_way for each in mails())])
    assert "hook-secret-token" not in shown
    assert "json://…" in shown


def test_an_address_in_the_own_network_is_refused_at_sending_too(hook: Hook, settings: Any, oncall: User) -> None:
    settings.NOTIFY_PRIVATE_OK = False
    address = f"json://127.0.0.1:{hook.port}/"
    Channel.objects.create(person=oncall, way=Way.APPRISE, label="Chat", address=address, verified_at=timezone.now())
    say(oncall)
    delivery.deliver()
    assert hook.said == []
    assert "own network" in Attempt.objects.get().detail


def test_a_status_update_goes_to_who_has_subscribed(
    mailbox: Mailbox, incident: Incident, oncall: User, manager: User, tech_lead: User
) -> None:
    Subscription.objects.create(email="boss@example.org", system="agents", made_by=manager)
    Subscription.objects.create(person=manager, severity="high", made_by=manager)
    Subscription.objects.create(email="other@example.org", system="other", made_by=manager)
    actions.update(incident.pk, by=oncall, text="Half of it is back.")
    delivery.deliver()
    told = [mail for mail in mailbox.mails if "Half of it is back." in mail.get_content()]
    assert sorted(mail["To"] for mail in told) == ["boss@example.org", "manager@example.org"]


def test_the_audit_finds_a_move_of_which_nobody_was_told(incident: Incident, oncall2: User) -> None:
    auditor.audit()
    actions.acknowledge(incident.pk, by=oncall2)
    assert auditor.audit().findings == []
    Notification.objects.all().delete()
    Message.objects.all().delete()
    [found] = auditor.audit().findings
    assert found.startswith(f"Incident {incident.pk}: acknowledge at ")
    assert auditor.alarm() == [found]


def test_the_heartbeat_address_is_asked_for_only_while_all_is_well(
    settings: Any, oncall: User, clock: time_machine.Traveller, hook: Hook, mailbox: Mailbox
) -> None:
    settings.HEARTBEAT_URL = f"http://127.0.0.1:{hook.port}/ping/portal"
    auditor.audit()
    assert hook.asked == ["/ping/portal"]
    say(oncall)
    clock.shift(61)
    assert auditor.audit().findings == ["1 messages wait, and nobody takes them on"]
    assert hook.asked == ["/ping/portal"]
    clock.shift(600)
    assert "has not looked since" in auditor.alarm()[0]
    delivery.deliver()
    assert auditor.audit().findings == []
    assert hook.asked == ["/ping/portal"] * 2
    hook.status = 500
    assert auditor.audit().findings == [], "what is wrong outside is no fault of the messages"


def test_until_a_channel_is_proven_mail_goes_to_the_account(mailbox: Mailbox, oncall: User) -> None:
    made = Channel.objects.create(person=oncall, way=Way.EMAIL, label="New", address="new@example.org")
    say(oncall)
    Channel.objects.filter(pk=made.pk).update(verified_at=timezone.now())
    say(User.objects.get(pk=oncall.pk))
    delivery.deliver()
    assert mailbox.to() == ["new@example.org", "oncall@example.org"]


@pytest.mark.real_broker
@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_down_for_two_minutes_loses_nothing(
    mailbox: Mailbox,
    oncall: User,
    manager: User,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
    client_for: Callable[[User], Client],
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        socket = Path(folder) / "redis.sock"
        monkeypatch.setattr(current_app.conf, "broker_url", f"redis+socket://{socket}")
        incident = actions.declare(by=manager, title="500", severity="high", scope="multiple")
        say(oncall, "soon over", expires=NOW + timedelta(seconds=60))
        assert tasks.send(tasks.deliver) is False
        clock.shift(60)
        [backlog] = auditor.backlogs()
        assert (backlog.count, backlog.since) == (2, NOW)
        assert "the broker or the notifier is down" in client_for(oncall).get("/incidents/").content.decode()
        clock.shift(60)
        with broker(socket) as redis:
            assert tasks.send(tasks.deliver) is False, "a page that tells five people waits for a dead broker once"
            monkeypatch.setitem(tasks.silent, "until", 0.0)  # a few seconds later
            assert tasks.send(tasks.deliver) is True, "what beat does every few seconds"
            assert redis.llen(tasks.QUEUE) == 1
            tasks.deliver()
    assert [mail["Subject"] for mail in mailbox.mails] == [f"[High] {incident}: 500"]
    assert states() == ["sent", "expired"]
    assert auditor.backlogs() == []


@contextmanager
def broker(socket: Path) -> Iterator[Redis]:
    words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    with subprocess.Popen([redis_server(), *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("eady to accept connections" in line for line in process.stdout)
        try:
            with Redis(unix_socket_path=str(socket)) as asking:
                yield asking
        finally:
            process.terminate()


def test_a_status_update_does_not_keep_the_first_call_from_who_is_on_call(
    mailbox: Mailbox, oncall: User, manager: User
) -> None:
    incident = actions.declare(by=manager, title="500", severity="high", scope="multiple")
    actions.update(incident.pk, by=manager, text="We look for somebody.")
    delivery.deliver()
    assert mailbox.to() == ["oncall@example.org"]


def test_a_reopened_incident_calls_who_is_on_call(
    mailbox: Mailbox, incident_in: IncidentIn, oncall: User, oncall2: User
) -> None:
    incident = incident_in("resolved")
    delivery.deliver()
    mailbox.mails.clear()
    actions.reopen(incident.pk, by=oncall, note="It is back")
    delivery.deliver()
    assert mailbox.to() == ["oncall2@example.org"]
