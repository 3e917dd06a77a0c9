from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/revert/"


def test_it_works(client_for: ClientFor, held: Rollback, checkout: Path, oncall: User) -> None:
    response = client_for(oncall).post(url(held), {"note": "Back, please"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{held.pk}/", 302)]
    assert again(held).state == "reverting"
    row = rows_of(held).first()
    assert row is not None
    assert (row.move, row.source, row.actor, row.note) == ("revert", "held", oncall, "Back, please")
    runner.carry(held.run.pk)
    after = again(held)
    assert after.state == "reverted", after.trouble
    assert after.log_entry.outcome == "reverted"
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"


def test_when_it_fails_again(client_for: ClientFor, held: Rollback, other_portal: Path, oncall: User) -> None:
    """Undo that cannot be done holds once more, and shows what to type."""
    client_for(oncall).post(url(held), {"note": "Back, please"})
    other_portal.write_text("this is no token")
    runner.carry(held.run.pk)
    after = again(held)
    assert after.state == "held"
    assert "cannot be read" in after.trouble


def test_wrong_method(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(held)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, held: Rollback, stranger: User, engineer: User) -> None:
    assert client.post(url(held), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer):
        response = client_for(person).post(url(held), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role On-Call Engineer or above" in response.content.decode()
    assert again(held).state == "held"


def test_wrong_state(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(watched), {"note": "Back"}, follow=True).content.decode()
    assert f"Rollback {watched.pk} was put under watch by the portal" in shown
    assert "it cannot be reverted" in shown
    assert "You had written: “Back”" in shown
    assert again(watched).state == "monitoring"


def test_bad_input(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(url(held), {"note": ""}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{held.pk}/", 302)]
    assert "so that the way back can be tried" in response.content.decode()
    assert "at most 2000" in client.post(url(held), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/revert/", {"note": "x"}).status_code == 404
    assert again(held).state == "held"
