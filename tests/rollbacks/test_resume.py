from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/resume/"


def test_held_says_why(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    shown = client_for(oncall).get(f"/rollbacks/{held.pk}/").content.decode()
    assert "Another worker holds this system" in shown
    assert [step.state for step in held.run.steps.all()] == ["failed", *["waiting"] * 8]


def test_it_works(client_for: ClientFor, held: Rollback, checkout: Path, oncall: User) -> None:
    response = client_for(oncall).post(url(held), {"note": "The other portal is off"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{held.pk}/", 302)]
    assert again(held).state == "running"
    row = rows_of(held).first()
    assert row is not None
    assert (row.move, row.source, row.target, row.actor, row.note) == (
        "resume",
        "held",
        "running",
        oncall,
        "The other portal is off",
    )
    runner.carry(held.run.pk)
    assert again(held).state == "monitoring", again(held).trouble
    assert (checkout / "app.py").read_text() == "VERSION = 1\n"
    assert Incident.objects.get().state == "monitoring"


def test_wrong_method(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(held)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, held: Rollback, stranger: User, engineer: User) -> None:
    assert client.post(url(held), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer):
        response = client_for(person).post(url(held), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role On-Call Engineer or above" in response.content.decode()
    assert again(held).state == "held"


def test_wrong_state(client_for: ClientFor, approved: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(approved), {"note": "Go on"}, follow=True).content.decode()
    assert f"Rollback {approved.pk} was approved by Henrik Lindqvist" in shown
    assert "it cannot be resumed" in shown
    assert "You had written: “Go on”" in shown
    assert again(approved).state == "approved"


def test_bad_input(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(url(held), {"note": ""}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{held.pk}/", 302)]
    assert "Say what you did or found, so that it can go on." in response.content.decode()
    assert "at most 2000" in client.post(url(held), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/resume/", {"note": "x"}).status_code == 404
    assert again(held).state == "held"
    assert next(step.state for step in held.run.steps.all()) == "failed"
