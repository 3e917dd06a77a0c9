from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident, Review
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]
ReviewOf = Callable[..., Review]


def url(review: Review) -> str:
    return f"/incidents/reviews/{review.pk}/answer/"


def test_it_works(
    client_for: ClientFor, incident_in: IncidentIn, review_of: ReviewOf, oncall: User, tech_lead: User
) -> None:
    incident = incident_in("mitigating")
    review = review_of(incident, oncall)
    client = client_for(tech_lead)
    assert "Approval overridden" in client.get(f"/incidents/{incident.pk}/").content.decode()
    response = client.post(url(review), {"note": "It was right"}, follow=True)
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    after = Review.objects.get()
    assert (after.reviewed_by, after.note, after.is_open) == (tech_lead, "It was right", False)
    assert [row.move for row in rows_of(review)] == ["answer", "open"]
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert last.text == "Reviewed Rollback 7 of agents. It was right"


def test_without_an_incident(client_for: ClientFor, review_of: ReviewOf, oncall: User, tech_lead: User) -> None:
    review = review_of(None, oncall)
    response = client_for(tech_lead).post(url(review), {"note": "Fine"})
    assert response.headers["Location"] == "/contacts/"
    again = client_for(tech_lead).post(url(review), {"note": "Fine"})
    assert again.status_code == 409
    assert "was answered by Henrik Lindqvist" in again.content.decode()


def test_wrong_method(client_for: ClientFor, review_of: ReviewOf, oncall: User, tech_lead: User) -> None:
    assert client_for(tech_lead).get(url(review_of(None, oncall))).status_code == 405


def test_stranger(
    client: Client, client_for: ClientFor, review_of: ReviewOf, oncall: User, oncall2: User, auditor: User
) -> None:
    review = review_of(None, oncall)
    assert client.post(url(review), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (oncall2, auditor):
        response = client_for(person).post(url(review), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role Tech Lead or above" in response.content.decode()
    assert Review.objects.get().is_open


def test_nobody_reviews_their_own(
    client_for: ClientFor, review_of: ReviewOf, tech_lead: User, tech_lead2: User
) -> None:
    review = review_of(None, tech_lead)
    response = client_for(tech_lead).post(url(review), {"note": "I was right"})
    assert response.status_code == 403
    assert "nobody reviews what they did themselves" in response.content.decode()
    client_for(tech_lead2).post(url(review), {"note": "They were"})
    assert Review.objects.get().reviewed_by == tech_lead2


def test_nobody_reviews_what_they_asked_for(
    client_for: ClientFor, review_of: ReviewOf, oncall: User, tech_lead: User, tech_lead2: User
) -> None:
    """Somebody else broke the glass for them: the debt is still theirs too."""
    review = review_of(None, oncall, asked_by=tech_lead)
    response = client_for(tech_lead).post(url(review), {"note": "I needed it"})
    assert response.status_code == 403
    assert "nobody reviews what they asked for" in response.content.decode()
    client_for(tech_lead2).post(url(review), {"note": "It was right"})
    assert Review.objects.get().reviewed_by == tech_lead2


def test_wrong_state(
    client_for: ClientFor,
    incident_in: IncidentIn,
    review_of: ReviewOf,
    oncall: User,
    tech_lead: User,
    tech_lead2: User,
) -> None:
    review = review_of(incident_in("mitigating"), oncall)
    client_for(tech_lead).post(url(review), {"note": "It was right"})
    response = client_for(tech_lead2).post(url(review), {"note": "It was not"}, follow=True)
    shown = response.content.decode()
    assert "was answered by Henrik Lindqvist 0 s ago. You had written: “It was not”" in shown
    assert Review.objects.get().note == "It was right"


def test_bad_input(
    client_for: ClientFor, incident_in: IncidentIn, review_of: ReviewOf, oncall: User, tech_lead: User
) -> None:
    review, client = review_of(incident_in("mitigating"), oncall), client_for(tech_lead)
    assert "Say what you found" in client.post(url(review), {"note": ""}, follow=True).content.decode()
    response = client.post(url(review), {"note": "y" * 4001})
    assert response.status_code == 422
    assert response.content.decode().count("y" * 4001) == 1
    assert client.post("/incidents/reviews/999/answer/", {"note": "x"}).status_code == 404
    assert Review.objects.get().is_open
