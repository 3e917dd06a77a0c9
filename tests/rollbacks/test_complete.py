from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Rollback, System
from rollbacks.tools.probe import Health
from tests.conftest import again

ClientFor = Callable[[User], Client]
GOOD = Health(True, True, 200, 1.0, "200 OK")
BAD = Health(False, True, 500, 1.0, "500")


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/complete/"


def test_it_works(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    response = client_for(oncall).post(url(watched), {"note": "Traffic is normal"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{watched.pk}/", 302)]
    after = again(watched)
    assert (after.state, after.ended_at is not None) == ("completed", True)
    row = rows_of(watched).first()
    assert row is not None
    assert (row.move, row.actor, row.note) == ("complete", oncall, "Traffic is normal")


def test_by_itself_when_the_watch_is_over(watched: Rollback, time_machine: Any) -> None:
    system = System.objects.get()
    runner.look(system, GOOD)
    assert again(watched).state == "monitoring"
    time_machine.move_to(timezone.now() + timedelta(minutes=61))
    runner.look(System.objects.get(), GOOD)
    assert again(watched).state == "completed"
    row = rows_of(watched).first()
    assert row is not None
    assert (row.move, row.actor, row.note) == ("complete", None, "the watch is over, and health held")


def test_not_when_health_was_lost(watched: Rollback, time_machine: Any) -> None:
    runner.look(System.objects.get(), BAD)
    assert again(watched).state == "monitoring", "one bad answer is not a lost health"
    time_machine.move_to(timezone.now() + timedelta(seconds=10))
    runner.look(System.objects.get(), BAD)
    after = again(watched)
    assert after.state == "reverting"
    assert "Health was lost during the watch" in after.trouble


def test_wrong_method(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(watched)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, watched: Rollback, stranger: User, engineer: User) -> None:
    assert client.post(url(watched), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer):
        response = client_for(person).post(url(watched), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role On-Call Engineer or above" in response.content.decode()
    assert again(watched).state == "monitoring"


def test_wrong_state(client_for: ClientFor, approved: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(approved), {"note": "Done"}, follow=True).content.decode()
    assert f"Rollback {approved.pk} was approved by Henrik Lindqvist" in shown
    assert "it cannot be completed" in shown
    assert "You had written: “Done”" in shown
    assert again(approved).state == "approved"


def test_bad_input(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(url(watched), {"note": ""}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{watched.pk}/", 302)]
    assert "Say why the watch can end early." in response.content.decode()
    assert "at most 2000" in client.post(url(watched), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/complete/", {"note": "x"}).status_code == 404
    assert again(watched).state == "monitoring"
