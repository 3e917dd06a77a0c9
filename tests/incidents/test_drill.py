"""The reachability drill: who is asked, by which way, and what a confirmation says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from incidents import channels, delivery
from incidents.models import Channel, EmergencyContact, Event, Notification, Preference, Way
from portal.ledger.models import Ledger, rows_of
from portal.ledger.roles import Role
from tests.incidents.receivers import Mailbox, mail_server

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
ClientFor = Callable[[User], Client]
Clock = time_machine.Traveller


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with mail_server() as box:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", box.port
        yield box


@pytest.fixture
def contact(oncall: User) -> EmergencyContact:
    return EmergencyContact.objects.create(role=Role.ON_CALL, duty="x", person=oncall)


@pytest.fixture
def phone(oncall: User) -> Channel:
    """Proven half a year ago."""
    return channel(oncall, "Phone", NOW - timedelta(days=180))


def channel(person: User, label: str, verified_at: datetime | None) -> Channel:
    address = f"{label}@example.org".lower()
    return Channel.objects.create(
        person=person, way=Way.EMAIL, label=label, address=address, verified_at=verified_at, order=1
    )


def drill(client_for: ClientFor, lead: User) -> list[Notification]:
    """What was asked by pressing the button now."""
    known = set(Notification.objects.values_list("pk", flat=True))
    assert client_for(lead).post("/contacts/drill/").status_code == 302
    return list(Notification.objects.exclude(pk__in=known).select_related("message").order_by("pk"))


def test_the_link_in_the_message_verifies_the_channel_and_the_contact(
    mailbox: Mailbox, client_for: ClientFor, contact: EmergencyContact, phone: Channel, oncall: User, tech_lead: User
) -> None:
    page = client_for(tech_lead).get("/contacts/").content.decode()
    assert "Amara Okafor, Phone: not confirmed since 3 Sep 2025" in page
    drill(client_for, tech_lead)
    delivery.deliver()
    [mail] = mailbox.mails
    assert mail["To"] == "phone@example.org"
    link = re.search(r"http://127\.0\.0\.1:8000(/contacts/confirm/\S+)", mail.get_content())
    assert link, mail.get_content()
    client = client_for(oncall)
    assert "Yes, it has reached me" in client.get(link[1]).content.decode()
    assert EmergencyContact.objects.get().verified_on is None, "a mail server opens links too"
    assert client.post(link[1]).status_code == 302
    assert Channel.objects.get().verified_at == NOW
    assert EmergencyContact.objects.get().verified_on == NOW.date()
    assert [row.move for row in rows_of(phone)] == ["confirm"]
    assert rows_of(contact).get().note == "reached by Phone: phone@example.org"
    page = client_for(tech_lead).get("/contacts/").content.decode()
    assert "Unverified" not in page
    assert "Not confirmed" not in page


def test_a_link_works_once(
    client_for: ClientFor, contact: EmergencyContact, phone: Channel, oncall: User, tech_lead: User, clock: Clock
) -> None:
    [asked] = drill(client_for, tech_lead)
    client = client_for(oncall)
    client.post(asked.message.url)
    clock.shift(3600)
    assert client.post(asked.message.url, follow=True).status_code == 409
    assert Channel.objects.get().verified_at == NOW
    assert "There is nothing more to do" in client.get(asked.message.url).content.decode()


def test_a_link_is_too_old_after_a_week(
    client_for: ClientFor, contact: EmergencyContact, phone: Channel, oncall: User, tech_lead: User, clock: Clock
) -> None:
    [asked] = drill(client_for, tech_lead)
    clock.shift(7 * 24 * 3600)
    client = client_for(oncall)
    assert "too old" in client.get(asked.message.url).content.decode()
    assert client.post(asked.message.url).status_code == 409
    assert EmergencyContact.objects.get().verified_on is None


def test_a_link_is_for_its_person_only(
    client: Client, client_for: ClientFor, contact: EmergencyContact, phone: Channel, tech_lead: User
) -> None:
    [asked] = drill(client_for, tech_lead)
    assert client.post(asked.message.url).status_code == 302, "nobody is signed in"
    other = client_for(tech_lead)
    assert other.get(asked.message.url).status_code == 403
    assert other.post(asked.message.url).status_code == 403
    assert EmergencyContact.objects.get().verified_on is None


def test_bad_input(
    client_for: ClientFor, contact: EmergencyContact, phone: Channel, oncall: User, tech_lead: User
) -> None:
    [asked] = drill(client_for, tech_lead)
    client = client_for(oncall)
    number = asked.message.key.removeprefix("drill:")
    for token in (number, f"{number}:x", "x:y", asked.message.url.split("/")[3][:-1]):
        assert client.post(f"/contacts/confirm/{token}/").status_code == 404
    assert EmergencyContact.objects.get().verified_on is None


def test_wrong_method_and_stranger(client_for: ClientFor, contact: EmergencyContact, oncall: User) -> None:
    client = client_for(oncall)
    assert client.get("/contacts/drill/").status_code == 405
    assert client.post("/contacts/drill/").status_code == 403
    assert not Notification.objects.exists()
    assert "This needs one of the roles Tech Lead, DevOps, Project Manager" in client.get("/contacts/").content.decode()


def test_each_proven_channel_of_everybody_who_holds_a_contact_is_asked_alone(
    client_for: ClientFor, contact: EmergencyContact, phone: Channel, oncall: User, oncall2: User, tech_lead: User
) -> None:
    contact.deputies.add(oncall2)
    channel(oncall, "Chat", NOW)
    channel(oncall, "New", None)
    asked = drill(client_for, tech_lead)
    assert [(each.to, each.address) for each in asked] == [
        ("Amara Okafor", "phone@example.org"),
        ("Amara Okafor", "chat@example.org"),
        ("Jonas Berg", "oncall2@example.org"),
    ]
    assert len({each.message.url for each in asked}) == 3
    page = client_for(oncall).get("/contacts/").content.decode()
    assert "Amara Okafor, New: never confirmed" in page
    assert "Jonas Berg by mail, asked" in page


def test_who_was_asked_today_is_not_asked_again_until_tomorrow(
    client_for: ClientFor, contact: EmergencyContact, phone: Channel, tech_lead: User, clock: Clock
) -> None:
    assert len(drill(client_for, tech_lead)) == 1
    clock.shift(3600)
    assert drill(client_for, tech_lead) == []
    clock.shift(24 * 3600)
    assert len(drill(client_for, tech_lead)) == 1


def test_a_drill_wakes_nobody(
    client_for: ClientFor, contact: EmergencyContact, phone: Channel, oncall: User, tech_lead: User
) -> None:
    Preference.objects.create(
        person=oncall, unwanted_events=list(Event.values), quiet_from=NOW.time(), quiet_to=NOW.replace(hour=11).time()
    )
    [asked] = drill(client_for, tech_lead)
    assert asked.due_at == NOW.replace(hour=11)


def test_a_code_for_a_channel_is_no_drill(client_for: ClientFor, oncall: User) -> None:
    made = channels.add(by=oncall, way=Way.EMAIL, label="New", address="new@example.org")
    [code] = Notification.objects.select_related("message").filter(channel=made)
    assert (code.message.event, code.message.expires_at - NOW) == (Event.CODE, timedelta(minutes=15))


def test_the_command_says_whom_it_asked(
    contact: EmergencyContact, phone: Channel, tech_lead: User, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("drill_contacts", "--as", "techlead", "--json")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Amara Okafor is asked by Phone: phone@example.org"
    assert said[-1] == '{"asked": 1}'
    assert Ledger.objects.filter(move="ask contacts", actor=tech_lead).count() == 1
