from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents import actions
from incidents.models import Incident, Waiver
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]


@pytest.fixture
def medium(oncall: User) -> Incident:
    incident = actions.declare(by=oncall, title="One agent is slow", severity="medium", scope="single")
    actions.acknowledge(incident.pk, by=oncall)
    return actions.resolve(incident.pk, by=oncall)


def url(incident: Incident) -> str:
    return f"/incidents/{incident.pk}/waive/"


def test_it_works(client_for: ClientFor, medium: Incident, oncall: User, tech_lead: User) -> None:
    client_for(tech_lead).post(url(medium), {"note": "Known, and fixed by the planned upgrade"})
    assert Waiver.objects.get().by == tech_lead
    row = rows_of(medium).first()
    assert row is not None
    assert (row.move, row.actor, row.note) == ("waive", tech_lead, "Known, and fixed by the planned upgrade")
    assert "Known, and fixed" in client_for(oncall).get(medium.get_absolute_url()).content.decode()
    client_for(oncall).post(f"/incidents/{medium.pk}/close/")
    assert Incident.objects.get().state == "closed"


def test_wrong_method(client_for: ClientFor, medium: Incident, tech_lead: User) -> None:
    assert client_for(tech_lead).get(url(medium)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, medium: Incident, oncall: User, auditor: User) -> None:
    assert client.post(url(medium), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (oncall, auditor):
        response = client_for(person).post(url(medium), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role Tech Lead or above" in response.content.decode()
    assert not Waiver.objects.exists()


@pytest.mark.parametrize("severity", ["critical", "high"])
def test_not_for_critical_and_high(client_for: ClientFor, oncall: User, tech_lead: User, severity: str) -> None:
    incident = actions.declare(by=oncall, title="Down", severity=severity, scope="multiple")
    shown = client_for(tech_lead).post(url(incident), {"note": "Nothing to learn"}, follow=True).content.decode()
    assert "its post-mortem is not waived" in shown
    assert "Waive the post-mortem" not in shown
    assert not Waiver.objects.exists()


def test_wrong_state(client_for: ClientFor, medium: Incident, tech_lead: User) -> None:
    client_for(tech_lead).post(url(medium), {"note": "Known"})
    shown = client_for(tech_lead).post(url(medium), {"note": "Again"}, follow=True).content.decode()
    assert "was waived by Henrik Lindqvist already" in shown
    actions.close(medium.pk, by=tech_lead)
    shown = client_for(tech_lead).post(url(medium), {"note": "Again"}, follow=True).content.decode()
    assert "it waits for no waiver" in shown
    assert Waiver.objects.count() == 1


def test_bad_input(client_for: ClientFor, medium: Incident, tech_lead: User) -> None:
    client = client_for(tech_lead)
    assert "Say why nothing is to be learned" in client.post(url(medium), {"note": " "}, follow=True).content.decode()
    assert client.post(url(medium), {"note": "x" * 4001}).status_code == 422
    assert client.post("/incidents/999/waive/", {"note": "x"}).status_code == 404
    assert not Waiver.objects.exists()
