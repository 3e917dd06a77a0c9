from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import actions
from rollbacks.models import Approval, DecisionRule, Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/approve/"


def test_it_works(client_for: ClientFor, planned: Rollback, incident: Incident, tech_lead: User) -> None:
    response = client_for(tech_lead).post(url(planned), {"note": "Go"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)]
    after = again(planned)
    assert (after.state, after.approved_at is not None) == ("approved", True)
    vote = Approval.objects.get()
    assert (vote.voter, vote.vote, vote.roles, vote.reason) == (tech_lead, "approve", "Tech Lead", "Go")
    moves = [(row.move, row.actor, row.target) for row in rows_of(planned)[:2]]
    assert moves == [("approve", tech_lead, "approved"), ("vote approve", tech_lead, "")]
    assert rows_of(planned)[0].data["digest"] == vote.plan.digest
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert last.text == f"Henrik Lindqvist approved Rollback {planned.pk}."


def test_wrong_method(client_for: ClientFor, planned: Rollback, tech_lead: User) -> None:
    assert client_for(tech_lead).get(url(planned)).status_code == 405
    assert again(planned).state == "awaiting_approval"


def test_stranger(
    client: Client, client_for: ClientFor, planned: Rollback, stranger: User, engineer: User, oncall2: User
) -> None:
    assert client.post(url(planned)).headers["Location"].startswith("/accounts/login/")
    for person, said in ((stranger, "without a role"), (engineer, "Engineer"), (oncall2, "On-Call Engineer")):
        response = client_for(person).post(url(planned))
        assert response.status_code == 403
        assert f"this needs the role Tech Lead or above, and you are {said}." in response.content.decode()
    assert again(planned).state == "awaiting_approval"
    assert not Approval.objects.exists()


@pytest.mark.parametrize("who", ["oncall", "tech_lead"])
def test_nobody_approves_their_own(
    client_for: ClientFor, planned: Rollback, who: str, request: pytest.FixtureRequest
) -> None:
    requester = request.getfixturevalue(who)
    Rollback.objects.update(requested_by=requester)
    response = client_for(requester).post(url(planned))
    assert response.status_code == 403
    assert "you asked for it, and nobody approves their own request" in response.content.decode()
    assert again(planned).state == "awaiting_approval"


def test_wrong_state(client_for: ClientFor, planned: Rollback, tech_lead: User, tech_lead2: User) -> None:
    client_for(tech_lead).post(url(planned))
    response = client_for(tech_lead2).post(url(planned), {"note": "Me too"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)]
    shown = response.content.decode()
    assert f"Rollback {planned.pk} was approved by Henrik Lindqvist 0 s ago: it cannot be approved." in shown
    assert "You had written: “Me too”" in shown
    assert Approval.objects.count() == 1


def test_a_quorum(client_for: ClientFor, planned: Rollback, tech_lead: User, tech_lead2: User) -> None:
    DecisionRule.objects.filter(pk=planned.rule_id).update(quorum=2)
    client_for(tech_lead).post(url(planned))
    assert again(planned).state == "awaiting_approval"
    twice = client_for(tech_lead).post(url(planned), follow=True).content.decode()
    assert f"You have voted on this plan of Rollback {planned.pk} already." in twice
    assert again(planned).state == "awaiting_approval"
    client_for(tech_lead2).post(url(planned))
    assert again(planned).state == "approved"


def test_bad_input(client_for: ClientFor, planned: Rollback, tech_lead: User) -> None:
    client = client_for(tech_lead)
    shown = client.post(url(planned), {"note": "x" * 2001}, follow=True).content.decode()
    assert "at most 2000 characters" in shown
    assert "x" * 2001 in shown
    assert "Null characters" in client.post(url(planned), {"note": "Go\x00"}, follow=True).content.decode()
    assert client.post("/rollbacks/999/approve/").status_code == 404
    assert again(planned).state == "awaiting_approval"
    assert not Approval.objects.exists()


def test_not_planned_yet(rollback: Rollback, client_for: ClientFor, tech_lead: User) -> None:
    shown = client_for(tech_lead).post(url(rollback), follow=True).content.decode()
    assert f"Rollback {rollback.pk} was requested by Amara Okafor" in shown


def test_the_page_says_who_can(client_for: ClientFor, planned: Rollback, tech_lead: User, oncall: User) -> None:
    shown = client_for(oncall).get(f"/rollbacks/{planned.pk}/").content.decode()
    assert "you asked for it, and nobody approves their own request" in shown
    assert "Henrik Lindqvist" in shown
    assert "techlead@example.org" in shown


def test_an_account_that_was_switched_off(planned: Rollback, client_for: ClientFor, tech_lead: User) -> None:
    client = client_for(tech_lead)
    User.objects.filter(pk=tech_lead.pk).update(is_active=False)
    assert client.post(url(planned)).headers["Location"].startswith("/accounts/login/")
    assert again(planned).state == "awaiting_approval"


def test_the_machine_has_no_vote(planned: Rollback) -> None:
    assert actions.may_vote(planned, None) == "a person has to do this"
