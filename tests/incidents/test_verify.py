"""A contact that nobody has tried is a guess: the date on which somebody did, and what is printed for the wall."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from incidents.models import EmergencyContact
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]


@pytest.fixture
def contact(tech_lead: User, tech_lead2: User) -> EmergencyContact:
    made = EmergencyContact.objects.create(
        role="Tech Lead", duty="Approval for major rollbacks", person=tech_lead, phone="+1 202 555 0102",
        chat="@techlead", email="techlead@example.org", hours="always", first_channel="chat",
    )  # fmt: skip
    made.deputies.add(tech_lead2)
    return made


def test_it_works_and_is_stale_after_90_days(client_for: ClientFor, contact: EmergencyContact, oncall: User) -> None:
    assert contact.is_stale
    with time_machine.travel(datetime(2026, 3, 1, tzinfo=UTC), tick=False):
        client_for(oncall).post(f"/contacts/{contact.pk}/verify/")
        contact = EmergencyContact.objects.get()
        assert not contact.is_stale
    assert rows_of(contact).get().move == "verify"
    with time_machine.travel(datetime(2026, 5, 30, tzinfo=UTC), tick=False):
        assert not contact.is_stale
    with time_machine.travel(datetime(2026, 5, 31, tzinfo=UTC), tick=False):
        assert contact.is_stale
        assert "Stale" in client_for(oncall).get("/contacts/").content.decode()


def test_wrong_method(client_for: ClientFor, contact: EmergencyContact, oncall: User) -> None:
    assert client_for(oncall).get(f"/contacts/{contact.pk}/verify/").status_code == 405


def test_stranger(client_for: ClientFor, contact: EmergencyContact, auditor: User) -> None:
    client = client_for(auditor)
    assert client.post(f"/contacts/{contact.pk}/verify/").status_code == 403
    assert "Verified today" not in client.get("/contacts/").content.decode()
    assert EmergencyContact.objects.get().verified_on is None


def test_bad_input(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).post("/contacts/999/verify/").status_code == 404


def test_channels_are_in_the_order_in_which_they_are_tried(contact: EmergencyContact) -> None:
    assert [kind for kind, _ in contact.channels] == ["chat", "phone", "email"]


def test_the_page_for_the_wall_and_the_command_say_the_same(
    client: Client, client_for: ClientFor, contact: EmergencyContact, auditor: User
) -> None:
    assert client.get("/contacts/print/").status_code == 302
    page = client_for(auditor).get("/contacts/print/").content.decode()
    out = StringIO()
    call_command("contacts", stdout=out)
    for said in ("Henrik Lindqvist, Salma Haddad", "+1 202 555 0102", "@techlead", "always", "never"):
        assert said in page
        assert said in out.getvalue()
    assert out.getvalue().index("@techlead") < out.getvalue().index("+1 202")
