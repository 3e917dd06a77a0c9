from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Approval, Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/reject/"


def test_it_works(client_for: ClientFor, planned: Rollback, tech_lead: User) -> None:
    response = client_for(tech_lead).post(url(planned), {"note": "Fix forward"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)]
    after = again(planned)
    assert (after.state, after.ended_at is not None) == ("rejected", True)
    vote = Approval.objects.get()
    assert (vote.voter, vote.vote, vote.reason) == (tech_lead, "reject", "Fix forward")
    row = rows_of(planned).first()
    assert row is not None
    assert (row.move, row.actor, row.note) == ("reject", tech_lead, "Fix forward")
    assert "Fix forward" in response.content.decode()
    runner.carry(planned.run.pk)
    assert again(planned).state == "rejected", "no worker takes it up"


def test_wrong_method(client_for: ClientFor, planned: Rollback, tech_lead: User) -> None:
    assert client_for(tech_lead).get(url(planned)).status_code == 405


def test_stranger(
    client: Client, client_for: ClientFor, planned: Rollback, stranger: User, oncall: User, oncall2: User
) -> None:
    assert client.post(url(planned), {"note": "No"}).headers["Location"].startswith("/accounts/login/")
    for person, said in (
        (stranger, "you are without a role"),
        (oncall2, "this needs the role Tech Lead or above"),
        (oncall, "you asked for it"),
    ):
        response = client_for(person).post(url(planned), {"note": "No"})
        assert response.status_code == 403
        assert said in response.content.decode()
    assert again(planned).state == "awaiting_approval"


def test_wrong_state(client_for: ClientFor, approved: Rollback, tech_lead2: User) -> None:
    shown = client_for(tech_lead2).post(url(approved), {"note": "Too late"}, follow=True).content.decode()
    assert f"Rollback {approved.pk} was approved by Henrik Lindqvist" in shown
    assert "it cannot be rejected" in shown
    assert "You had written: “Too late”" in shown
    assert again(approved).state == "approved"


def test_bad_input(client_for: ClientFor, planned: Rollback, tech_lead: User) -> None:
    client = client_for(tech_lead)
    response = client.post(url(planned), {"note": "  "}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)], "back on its page"
    assert "Say why you reject it" in response.content.decode()
    assert "at most 2000" in client.post(url(planned), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/reject/", {"note": "No"}).status_code == 404
    assert again(planned).state == "awaiting_approval"
    assert not Approval.objects.exists()
