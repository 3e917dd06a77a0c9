from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks.models import RestorePoint, Rollback

ClientFor = Callable[[User], Client]


def url(point: RestorePoint) -> str:
    return f"/restore-points/{point.pk}/mark-bad/"


def test_it_works(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    client = client_for(engineer)
    assert "Roll back to it…" in client.get("/systems/agents/").content.decode()
    response = client.post(url(point), {"note": "made under load"}, follow=True)
    assert response.redirect_chain == [(f"/restore-points/{point.pk}/", 302)]
    assert "is marked bad: it is no longer offered." in response.content.decode()
    after = RestorePoint.objects.get()
    assert (after.bad, after.bad_reason, after.is_target) == (True, "made under load", False)
    assert "Roll back to it…" not in client.get("/systems/agents/").content.decode()
    row = rows_of(point).first()
    assert row is not None
    assert (row.move, row.actor, row.note) == ("mark bad", engineer, "made under load")


def test_taken_away(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    client = client_for(engineer)
    client.post(url(point), {"note": "made under load"})
    assert "is no longer bad." in client.post(url(point), follow=True).content.decode()
    after = RestorePoint.objects.get()
    assert (after.bad, after.bad_reason, after.is_target) == (False, "", True)


def test_wrong_method(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    assert client_for(engineer).get(url(point)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, point: RestorePoint, stranger: User, auditor: User) -> None:
    assert client.post(url(point), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        response = client_for(person).post(url(point), {"note": "x"})
        assert response.status_code == 403
        assert "cannot mark a restore point: this needs the role Engineer" in response.content.decode()
    assert not RestorePoint.objects.get().bad


def test_wrong_state(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    """Marked bad while somebody's form was open: the form says so, keeps what was typed, and nothing is asked for."""
    client_for(engineer).post(url(point), {"note": "made under load"})
    words = {"procedure": "code", "target": point.tag, "severity": "high", "scope": "multiple", "reason": "500 since 3"}
    response = client_for(engineer).post("/systems/agents/roll-back/", words)
    assert response.status_code == 422
    shown = response.content.decode()
    assert "cannot be gone back to: it is marked bad (made under load). Choose another one." in shown
    assert "500 since 3" in shown
    assert not Rollback.objects.exists()


def test_bad_input(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    client = client_for(engineer)
    client.post(url(point), {"note": "made under load"})
    response = client.post(url(point), {"note": "y" * 2001}, follow=True)
    assert "at most 2000 characters" in response.content.decode()
    assert "y" * 2001 in response.content.decode(), "what was typed is not lost"
    assert RestorePoint.objects.get().bad_reason == "made under load", "a note too long takes no mark away"
    assert client.post("/restore-points/999/mark-bad/", {"note": "x"}).status_code == 404
