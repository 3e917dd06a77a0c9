from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident, Review
from portal.ledger.models import rows_of
from rollbacks.models import Approval, Rollback
from tests.conftest import again, look_back

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/override/"


def test_it_works(client_for: ClientFor, planned: Rollback, incident: Incident, oncall: User) -> None:
    """Break-glass works at once, for the requester too: that is what it is for. It leaves a debt."""
    response = client_for(oncall).post(url(planned), {"note": "No Tech Lead answers"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)]
    assert again(planned).state == "approved"
    assert not Approval.objects.exists(), "an override is no vote"
    row = rows_of(planned).first()
    assert row is not None
    assert (row.move, row.actor, row.note) == ("override", oncall, "No Tech Lead answers")
    review = Review.objects.get()
    assert (review.kind, review.incident, review.opened_by) == ("override", incident, oncall)
    assert (review.url, review.reason) == (f"/rollbacks/{planned.pk}/", "No Tech Lead answers")


def test_its_review_blocks_closing_the_incident(
    client_for: ClientFor, planned: Rollback, incident: Incident, oncall: User, tech_lead: User
) -> None:
    client = client_for(oncall)
    client.post(url(planned), {"note": "No Tech Lead answers"})
    for move in ("acknowledge", "resolve", "close"):
        shown = client.post(f"/incidents/{incident.pk}/{move}/", {"note": ""}, follow=True).content.decode()
    assert "A review is still open" in shown
    assert Incident.objects.get().state == "resolved"
    client_for(tech_lead).post(f"/incidents/reviews/{Review.objects.get().pk}/answer/", {"note": "It was right"})
    look_back(incident, oncall, tech_lead)
    client.post(f"/incidents/{incident.pk}/close/", {"note": ""})
    assert Incident.objects.get().state == "closed"


def test_wrong_method(client_for: ClientFor, planned: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(planned)).status_code == 405


def test_stranger(
    client: Client, client_for: ClientFor, planned: Rollback, stranger: User, engineer: User, manager: User
) -> None:
    assert client.post(url(planned), {"note": "Now"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer, manager):
        response = client_for(person).post(url(planned), {"note": "Now"})
        assert response.status_code == 403
        assert "this needs the role On-Call Engineer or above" in response.content.decode()
    assert again(planned).state == "awaiting_approval"
    assert not Review.objects.exists()


def test_wrong_state(client_for: ClientFor, approved: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(approved), {"note": "Now"}, follow=True).content.decode()
    assert f"Rollback {approved.pk} was approved by Henrik Lindqvist" in shown
    assert "it cannot be overridden" in shown
    assert "You had written: “Now”" in shown
    assert not Review.objects.exists()


def test_bad_input(client_for: ClientFor, planned: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(url(planned), {"note": ""}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)]
    assert "Say why the approval cannot be waited for" in response.content.decode()
    assert "at most 2000" in client.post(url(planned), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/override/", {"note": "Now"}).status_code == 404
    assert again(planned).state == "awaiting_approval"
    assert not Review.objects.exists()
