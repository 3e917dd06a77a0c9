"""Contacts are edited by those who may, and leave a row; incidents, their timeline and their reviews are read only."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from incidents import actions, channels
from incidents.models import (
    Attempt,
    Channel,
    EmergencyContact,
    Event,
    Incident,
    Message,
    Notification,
    Review,
    Subscription,
    TimelineEntry,
    Way,
)
from portal.ledger.models import Ledger, rows_of
from portal.ledger.roles import Role
from tests.conftest import person

ClientFor = Callable[[User], Client]
MODELS: dict[str, type[Any]] = {
    "incident": Incident,
    "timelineentry": TimelineEntry,
    "review": Review,
    "message": Message,
    "notification": Notification,
    "attempt": Attempt,
    "channel": Channel,
    "subscription": Subscription,
}


@pytest.fixture
def seeded(
    settings: Any, tmp_path: Path, auditor: User, tech_lead: User, manager: User, engineer: User, oncall: User
) -> None:
    settings.HOME = tmp_path
    call_command("seed", stdout=io.StringIO())


@pytest.fixture
def history(seeded: None, incident_in: Callable[[str], Incident], oncall: User) -> Incident:
    incident = incident_in("mitigating")
    actions.open_review(
        incident=incident,
        kind="override",
        subject="Rollback 7",
        url="/rollbacks/7/",
        reason="Nobody answered",
        by=oncall,
    )
    address = "json://robot:hook-secret-token@hooks.example.org/room"
    chat = Channel.objects.create(person=oncall, way=Way.APPRISE, label="Chat", address=address, code="hash-of-a-code")
    said = incident.messages.latest("pk")
    copy = Notification.objects.create(
        message=said, person=oncall, channel=chat, way=chat.way, address=address, label="Chat"
    )
    Attempt.objects.create(notification=copy, outcome=Attempt.Outcome.FAILED, detail="the room is closed")
    Subscription.objects.create(email="boss@example.org", system="agents", made_by=oncall)
    return incident


def count(client: Client, model: str, **query: str) -> int:
    response = client.get(f"/admin/incidents/{model}/", query)
    assert response.status_code == 200
    return int(response.context["cl"].result_count)


def test_the_auditor_reads_and_finds(client_for: ClientFor, history: Incident, auditor: User) -> None:
    client = client_for(auditor)
    assert count(client, "incident", q="Checkout", state__exact="mitigating") == 1
    assert count(client, "incident", severity__exact="low") == count(client, "incident", q="nothing like it") == 0
    assert count(client, "timelineentry", q="started mitigating") == 1
    assert count(client, "timelineentry", kind__exact="health") == 0
    assert count(client, "review", q="Nobody answered", reviewed_at__isempty="1") == 1
    assert count(client, "review", reviewed_at__isempty="0") == 0
    assert "Amara Okafor" in client.get("/admin/incidents/timelineentry/").content.decode()


def test_the_auditor_finds_who_was_told_and_what_failed(
    client_for: ClientFor, history: Incident, auditor: User
) -> None:
    client = client_for(auditor)
    assert count(client, "message", q="Checkout", event__exact="declared") == 1
    assert count(client, "notification", way__exact="apprise", state__exact="pending", q="Okafor") == 1
    assert count(client, "notification", state__exact="dead") == 0
    assert count(client, "attempt", q="room is closed", outcome__exact="failed") == 1
    assert count(client, "channel", verified_at__isempty="1") == 1
    assert count(client, "subscription", q="boss@") == 1
    assert count(client, "audit") == 0


def test_no_page_of_the_admin_shows_or_finds_the_secrets_of_an_address(
    client_for: ClientFor, history: Incident, auditor: User, oncall: User
) -> None:
    channels.send_code(Channel.objects.get())
    code = Message.objects.get(event=Event.CODE)
    client = client_for(auditor)
    for name in ("message", "notification", "attempt", "channel"):
        urls = [f"/admin/incidents/{name}/"]
        urls += [f"/admin/incidents/{name}/{pk}/change/" for pk in MODELS[name].objects.values_list("pk", flat=True)]
        for url in urls:
            page = client.get(url).content.decode()
            assert "hook-secret-token" not in page, url
            assert "hash-of-a-code" not in page, url
            assert code.text not in page, url
    assert count(client, "notification", q="hook-secret") == count(client, "channel", q="hook-secret") == 0


def test_nobody_changes_what_happened(client_for: ClientFor, history: Incident, auditor: User) -> None:
    for who in (auditor, User.objects.create_superuser("root")):
        client = client_for(who)
        for name, model in MODELS.items():
            before = list(model.objects.order_by("pk").values())
            url = f"/admin/incidents/{name}/{model.objects.first().pk}"
            assert 'name="_save"' not in client.get(f"{url}/change/").content.decode()
            for verb in (f"{url}/change/", f"{url}/delete/", f"/admin/incidents/{name}/add/"):
                assert client.post(verb, {"title": "x", "text": "x", "note": "x", "post": "yes"}).status_code == 403
            chosen = [row["id"] for row in before]
            client.post(
                f"/admin/incidents/{name}/",
                {"action": "delete_selected", "_selected_action": chosen, "post": "yes"},
            )
            assert list(model.objects.order_by("pk").values()) == before


# --- contacts -------------------------------------------------------------------------------------------------------


CONTACT = ["role", "duty", "phone", "email", "chat", "hours", "order", "first_channel", "time_zone"]


def typed(contact: EmergencyContact, **changes: object) -> dict[str, object]:
    known = {name: getattr(contact, name) for name in CONTACT}
    return {**known, "person": contact.person_id or "", **changes}


@pytest.mark.parametrize("who", ["tech_lead", "manager"])
def test_a_contact_is_edited_and_leaves_a_row(
    client_for: ClientFor, seeded: None, who: str, request: pytest.FixtureRequest, oncall: User
) -> None:
    editor = request.getfixturevalue(who)
    contact = EmergencyContact.objects.get(role="On-Call Engineer")
    url = f"/admin/incidents/emergencycontact/{contact.pk}/change/"
    response = client_for(editor).post(url, typed(contact, phone="+1 202 555 0199", person=oncall.pk))
    assert response.status_code == 302
    changed = EmergencyContact.objects.get(pk=contact.pk)
    assert (changed.phone, changed.person) == ("+1 202 555 0199", oncall)
    row = rows_of(contact).get()
    assert (row.move, row.actor, row.data) == ("change", editor, {"fields": ["person", "phone"]})
    assert "+1 202 555 0199" in client_for(oncall).get("/contacts/").content.decode()


def test_who_may_not_edit_contacts(
    client_for: ClientFor, seeded: None, auditor: User, engineer: User, manager: User
) -> None:
    contact = EmergencyContact.objects.get(role="On-Call Engineer")
    url = "/admin/incidents/emergencycontact"
    for who in (auditor, engineer):
        response = client_for(who).post(f"{url}/{contact.pk}/change/", typed(contact, phone="+1 202 555 0199"))
        assert response.status_code in (302, 403)
        assert not response.headers.get("Location", "").startswith("/admin/incidents")
    for verb in (f"{url}/add/", f"{url}/{contact.pk}/delete/"):
        assert client_for(manager).post(verb, typed(contact, post="yes")).status_code == 403
    assert EmergencyContact.objects.get(pk=contact.pk).phone == ""
    assert EmergencyContact.objects.count() == 4


def test_a_contact_that_is_added_or_deleted_leaves_a_row(client_for: ClientFor, seeded: None, tech_lead: User) -> None:
    """Deleting is a superuser's: also one by one, also many at once."""
    new = {"role": "DevOps", "duty": "Network", "order": 9, "first_channel": "phone", "time_zone": "UTC"}
    assert client_for(tech_lead).post("/admin/incidents/emergencycontact/add/", new).status_code == 302
    made = EmergencyContact.objects.get(duty="Network")
    assert rows_of(made).get().move == "add"
    root = client_for(User.objects.create_superuser("root"))
    root.post(f"/admin/incidents/emergencycontact/{made.pk}/delete/", {"post": "yes"})
    others = list(EmergencyContact.objects.values_list("pk", flat=True))
    selected = {"action": "delete_selected", "_selected_action": others, "post": "yes"}
    root.post("/admin/incidents/emergencycontact/", selected)
    assert not EmergencyContact.objects.exists()
    deleted = Ledger.objects.filter(kind="emergencycontact", move="delete")
    assert sorted(int(row.object_id) for row in deleted) == sorted([made.pk, *others])


def test_a_contact_keeps_its_person(client_for: ClientFor, seeded: None) -> None:
    """Whom to call at night does not vanish with an account."""
    called = person("called", "Cora Called", Role.ON_CALL)
    EmergencyContact.objects.filter(role="On-Call Engineer").update(person=called)
    client_for(User.objects.create_superuser("root")).post(f"/admin/auth/user/{called.pk}/delete/", {"post": "yes"})
    assert User.objects.filter(pk=called.pk).exists()
