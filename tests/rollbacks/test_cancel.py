from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/cancel/"


def test_it_works(client_for: ClientFor, planned: Rollback, incident: Incident, oncall: User) -> None:
    response = client_for(oncall).post(url(planned), {"note": "Fixed forward"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/", 302)]
    after = again(planned)
    assert (after.state, after.ended_at is not None) == ("cancelled", True)
    row = rows_of(planned).first()
    assert row is not None
    assert (row.move, row.source, row.target, row.actor, row.note) == (
        "cancel",
        "awaiting_approval",
        "cancelled",
        oncall,
        "Fixed forward",
    )
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert last.text == f"Amara Okafor cancelled Rollback {planned.pk}. Fixed forward"


def test_while_it_is_planned(client_for: ClientFor, rollback: Rollback, oncall: User) -> None:
    client_for(oncall).post(url(rollback))
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "cancelled", "the worker that comes later plans nothing"
    assert again(rollback).plan_now is None


def test_by_an_approver(client_for: ClientFor, approved: Rollback, tech_lead: User) -> None:
    client_for(tech_lead).post(url(approved))
    runner.carry(approved.run.pk)
    assert again(approved).state == "cancelled", "an approval does not start what was cancelled"


def test_wrong_method(client_for: ClientFor, rollback: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(rollback)).status_code == 405
    assert again(rollback).state == "planning"


def test_stranger(
    client: Client, client_for: ClientFor, rollback: Rollback, stranger: User, engineer: User, auditor: User
) -> None:
    assert client.post(url(rollback)).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer, auditor):
        response = client_for(person).post(url(rollback))
        assert response.status_code == 403
        assert "only the requester or an approver may do this" in response.content.decode()
    assert again(rollback).state == "planning"


def test_wrong_state(client_for: ClientFor, running: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(running), {"note": "Stop"}, follow=True).content.decode()
    assert f"Rollback {running.pk} was started by the portal" in shown
    assert "it cannot be cancelled" in shown
    assert "You had written: “Stop”" in shown
    assert again(running).state == "running"


def test_bad_input(client_for: ClientFor, rollback: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    assert "at most 2000" in client.post(url(rollback), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/cancel/").status_code == 404
    assert again(rollback).state == "planning"
