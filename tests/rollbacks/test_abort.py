from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Rollback
from tests.conftest import again, git

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/abort/"


def test_it_works(client_for: ClientFor, running: Rollback, oncall: User) -> None:
    response = client_for(oncall).post(url(running), {"note": "Wrong system"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{running.pk}/", 302)]
    after = again(running)
    assert (after.state, after.trouble) == ("reverting", "Aborted by Amara Okafor: Wrong system")
    row = rows_of(running).first()
    assert row is not None
    assert (row.move, row.source, row.target, row.actor, row.note) == (
        "abort",
        "running",
        "reverting",
        oncall,
        "Wrong system",
    )
    runner.carry(running.run.pk)
    assert again(running).state == "reverted"
    assert again(running).log_entry.outcome == "reverted"


def test_under_watch(
    client_for: ClientFor, watched: Rollback, checkout: Path, incident: Incident, oncall: User
) -> None:
    """What was switched is switched back, and verified: branch, commit and files as they were found."""
    assert (checkout / "app.py").read_text() == "VERSION = 1\n"
    client_for(oncall).post(url(watched), {"note": "It is worse"})
    runner.carry(watched.run.pk)
    assert again(watched).state == "reverted", again(watched).trouble
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert git(checkout, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(checkout, "status", "--porcelain") == ""
    assert {step.state for step in watched.run.steps.all()} == {"undone"}
    assert Incident.objects.get().state == "mitigating"
    told = [entry.text for entry in incident.timeline.all()]
    assert told[-1] == f"Rollback {watched.pk} was undone: agents is as it was found."


def test_wrong_method(client_for: ClientFor, running: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(running)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, running: Rollback, stranger: User, engineer: User) -> None:
    assert client.post(url(running), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer):
        response = client_for(person).post(url(running), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role On-Call Engineer or above" in response.content.decode()
    assert again(running).state == "running"


def test_wrong_state(client_for: ClientFor, approved: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(approved), {"note": "Stop"}, follow=True).content.decode()
    assert f"Rollback {approved.pk} was approved by Henrik Lindqvist" in shown
    assert "it cannot be aborted" in shown
    assert "You had written: “Stop”" in shown
    after = again(approved)
    assert (after.state, after.trouble) == ("approved", "")


def test_bad_input(client_for: ClientFor, running: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(url(running), {"note": " "}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{running.pk}/", 302)]
    assert "Say why it is aborted." in response.content.decode()
    assert "at most 2000" in client.post(url(running), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/abort/", {"note": "x"}).status_code == 404
    assert again(running).state == "running"
