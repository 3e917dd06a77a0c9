from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents import actions
from incidents.models import Incident
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]


def test_it_works(client_for: ClientFor, incident_in: IncidentIn, manager: User) -> None:
    incident = incident_in("closed")
    response = client_for(manager).post(
        f"/incidents/{incident.pk}/note/", {"note": "<b>Told</b> the shop\nhttps://example.org/status"}, follow=True
    )
    entry = incident.timeline.order_by("pk").last()
    assert entry is not None
    assert (entry.by, entry.by_name, entry.kind) == (manager, "Priya Raman", "note")
    row = rows_of(incident).first()
    assert row is not None
    assert (row.move, row.actor, row.target) == ("note", manager, "")
    shown = response.content.decode()
    assert "&lt;b&gt;Told&lt;/b&gt; the shop<br>" in shown
    assert '<a href="https://example.org/status" rel="nofollow">' in shown


def test_the_portal_itself(incident_in: IncidentIn) -> None:
    incident = incident_in("declared")
    entry = actions.note(incident.pk, by=None, text="agents is unhealthy", kind="health", url="/systems/agents/")
    assert (entry.by, entry.by_name, entry.kind, entry.url) == (None, "the portal", "health", "/systems/agents/")


def test_wrong_method(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    assert client_for(engineer).get(f"/incidents/{incident_in('declared').pk}/note/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, incident_in: IncidentIn, stranger: User) -> None:
    incident = incident_in("declared")
    url = f"/incidents/{incident.pk}/note/"
    assert client.post(url, {"note": "Hello"}).headers["Location"].startswith("/accounts/login/")
    response = client_for(stranger).post(url, {"note": "Hello"})
    assert response.status_code == 403
    assert "Sam Nobody cannot write to the timeline" in response.content.decode()
    assert incident.timeline.count() == 1


def test_bad_input(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident, client = incident_in("declared"), client_for(engineer)
    url = f"/incidents/{incident.pk}/note/"
    assert "The note is empty" in client.post(url, {"note": " "}, follow=True).content.decode()
    assert client.post(url, {"note": "nul\x00"}).status_code == 422
    assert client.post("/incidents/99999999999999999999/note/", {"note": "x"}).status_code == 404
    assert incident.timeline.count() == 1
