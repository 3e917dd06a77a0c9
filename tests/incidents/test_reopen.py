from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]


def url(incident: Incident) -> str:
    return f"/incidents/{incident.pk}/reopen/"


def test_it_works(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident = incident_in("resolved")
    response = client_for(engineer).post(url(incident), {"note": "Seen it"}, follow=True)
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    after = Incident.objects.get()
    assert after.state == "mitigating"
    assert after.resolved_at is None
    row = rows_of(incident).first()
    assert row is not None
    assert (row.move, row.source, row.target, row.actor, row.note) == (
        "reopen",
        "resolved",
        "mitigating",
        engineer,
        "Seen it",
    )
    assert after.timeline.order_by("pk").last().text == "Mei Tanaka reopened the incident. Seen it"
    assert "Seen it" in response.content.decode()


def test_wrong_method(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident = incident_in("resolved")
    assert client_for(engineer).get(url(incident)).status_code == 405
    assert Incident.objects.get().state == "resolved"


def test_stranger(
    client: Client, client_for: ClientFor, incident_in: IncidentIn, stranger: User, auditor: User
) -> None:
    incident = incident_in("resolved")
    assert client.post(url(incident), {"note": "Let me"}).headers["Location"].startswith("/accounts/login/")
    for person, said in ((stranger, "you are without a role"), (auditor, "you are Auditor")):
        response = client_for(person).post(url(incident), {"note": "Let me"})
        assert response.status_code == 403
        assert said in response.content.decode()
    assert Incident.objects.get().state == "resolved"
    assert incident.timeline.exclude(by__username="oncall").count() == 0


def test_wrong_state(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident = incident_in("acknowledged")
    response = client_for(engineer).post(url(incident), {"note": "Too late"}, follow=True)
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    shown = response.content.decode()
    assert f"Incident {incident.pk} was acknowledged by Amara Okafor" in shown
    assert "You had written: “Too late”" in shown
    assert Incident.objects.get().state == "acknowledged"


def test_bad_input(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident = incident_in("resolved")
    client = client_for(engineer)
    response = client.post(url(incident), {"note": "x" * 4001})
    assert response.status_code == 422
    assert "at most 4000 characters" in response.content.decode()
    assert "x" * 4001 in response.content.decode()
    assert client.post("/incidents/999/reopen/", {"note": "Where"}).status_code == 404
    assert Incident.objects.get().state == "resolved"


def test_without_a_note(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident = incident_in("resolved")
    response = client_for(engineer).post(url(incident), {"note": "  "}, follow=True)
    assert "Say what came back" in response.content.decode()
    assert Incident.objects.get().state == "resolved"
