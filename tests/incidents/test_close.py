from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents import action_items
from incidents.models import Incident, Review
from portal.ledger.models import rows_of
from tests.conftest import look_back

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]
NOBODY: dict[str, None] = {"owner": None, "due_at": None}


def url(incident: Incident) -> str:
    return f"/incidents/{incident.pk}/close/"


def test_it_works(client_for: ClientFor, incident_in: IncidentIn, engineer: User, oncall: User) -> None:
    incident = incident_in("resolved")
    look_back(incident, oncall, engineer)
    response = client_for(engineer).post(url(incident), {"note": "Seen it"}, follow=True)
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    after = Incident.objects.get()
    assert after.state == "closed"
    assert after.closed_at is not None
    row = rows_of(incident).first()
    assert row is not None
    assert (row.move, row.source, row.target, row.actor, row.note) == (
        "close",
        "resolved",
        "closed",
        engineer,
        "Seen it",
    )
    assert after.timeline.order_by("pk").last().text == "Mei Tanaka closed the incident. Seen it"
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
    incident = incident_in("mitigating")
    response = client_for(engineer).post(url(incident), {"note": "Too late"}, follow=True)
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    shown = response.content.decode()
    assert f"Incident {incident.pk} was mitigated by Amara Okafor" in shown
    assert "You had written: “Too late”" in shown
    assert Incident.objects.get().state == "mitigating"


def test_bad_input(client_for: ClientFor, incident_in: IncidentIn, engineer: User) -> None:
    incident = incident_in("resolved")
    client = client_for(engineer)
    response = client.post(url(incident), {"note": "x" * 4001})
    assert response.status_code == 422
    assert "at most 4000 characters" in response.content.decode()
    assert "x" * 4001 in response.content.decode()
    assert client.post("/incidents/999/close/", {"note": "Where"}).status_code == 404
    assert Incident.objects.get().state == "resolved"


def test_an_open_review_keeps_it_open(
    client_for: ClientFor,
    incident_in: IncidentIn,
    review_of: Callable[..., Review],
    oncall: User,
    tech_lead: User,
) -> None:
    incident = incident_in("resolved")
    look_back(incident, oncall, tech_lead)
    review = review_of(incident, oncall)
    response = client_for(oncall).post(url(incident), follow=True)
    assert "A review is still open" in response.content.decode()
    assert Incident.objects.get().state == "resolved"
    client_for(tech_lead).post(f"/incidents/reviews/{review.pk}/answer/", {"note": "It was right"})
    client_for(oncall).post(url(incident))
    assert Incident.objects.get().state == "closed"


def test_without_a_post_mortem_it_stays_open(
    client_for: ClientFor, incident_in: IncidentIn, oncall: User, engineer: User
) -> None:
    incident = incident_in("resolved")
    shown = client_for(engineer).post(url(incident), follow=True).content.decode()
    assert "It has no published post-mortem" in shown
    assert Incident.objects.get().state == "resolved"
    look_back(incident, oncall, engineer)
    client_for(engineer).post(url(incident))
    assert Incident.objects.get().state == "closed"


def test_an_action_item_without_an_owner_keeps_it_open_and_is_named(
    client_for: ClientFor, incident_in: IncidentIn, oncall: User, engineer: User
) -> None:
    incident = incident_in("resolved")
    look_back(incident, oncall, engineer)
    item = action_items.add_item(incident_pk=incident.pk, by=oncall, title="Add a canary", term="long", **NOBODY)
    shown = client_for(engineer).post(url(incident), follow=True).content.decode()
    assert "“Add a canary” has no owner and no due date" in shown
    assert Incident.objects.get().state == "resolved"
    action_items.drop(item.pk, by=oncall, note="The sample has no canary")
    client_for(engineer).post(url(incident))
    assert Incident.objects.get().state == "closed"
