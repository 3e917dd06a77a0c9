from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from incidents.models import EmergencyContact

ClientFor = Callable[[User], Client]


def test_who_for_what_and_how(client_for: ClientFor, oncall: User, tech_lead: User, auditor: User) -> None:
    EmergencyContact.objects.create(
        role="On-Call Engineer", duty="Primary rollback decision maker", person=oncall, phone="+1 202 555 0101"
    )
    EmergencyContact.objects.create(role="DevOps", duty="Infrastructure rollback support")
    shown = client_for(auditor).get("/contacts/").content.decode()
    assert "Primary rollback decision maker" in shown
    assert 'href="tel:+12025550101"' in shown
    assert "nobody yet" in shown
    assert 'href="mailto:techlead@example.org"' in shown


def test_empty(client_for: ClientFor, auditor: User) -> None:
    assert "No emergency contact is written down" in client_for(auditor).get("/contacts/").content.decode()


def test_wrong_method_and_stranger(client: Client, client_for: ClientFor, auditor: User) -> None:
    assert client.get("/contacts/").status_code == 302
    assert client_for(auditor).post("/contacts/").status_code == 405


def test_editing_is_in_the_admin_for_those_who_may(client_for: ClientFor, manager: User, auditor: User) -> None:
    call_command("seed", verbosity=0)
    contact = EmergencyContact.objects.get(role="DevOps")
    url = f"/admin/incidents/emergencycontact/{contact.pk}/change/"
    typed: dict[str, Any] = {"role": "DevOps", "duty": "Hosts", "order": 4, "phone": "+1 202 555 0104"}
    typed |= {"first_channel": "phone", "time_zone": "UTC"}
    auditor.refresh_from_db()
    manager.refresh_from_db()
    assert "Edit the contacts" not in client_for(auditor).get("/contacts/").content.decode()
    assert client_for(auditor).post(url, typed).status_code == 403
    assert "Edit the contacts" in client_for(manager).get("/contacts/").content.decode()
    assert client_for(manager).post(url, typed).status_code == 302
    contact.refresh_from_db()
    assert contact.phone == "+1 202 555 0104"


def test_the_number_of_queries_is_constant(
    client_for: ClientFor, auditor: User, oncall: User, tech_lead: User, queries: Callable[[Client, str], int]
) -> None:
    client = client_for(auditor)
    EmergencyContact.objects.create(role="DevOps", duty="x", person=auditor)
    few = queries(client, "/contacts/")
    for person in (oncall, tech_lead):
        EmergencyContact.objects.create(role="DevOps", duty="x", person=person)
    assert queries(client, "/contacts/") == few
