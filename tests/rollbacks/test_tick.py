from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks.models import ChecklistTick, Rollback

ClientFor = Callable[[User], Client]


def url(rollback: Rollback, item: str = "issue") -> str:
    return f"/rollbacks/{rollback.pk}/tick/{item}/"


def test_it_works(client_for: ClientFor, planned: Rollback, incident: Incident, engineer: User) -> None:
    response = client_for(engineer).post(url(planned), {"note": "A bad merge"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{planned.pk}/#checklist", 302)]
    assert "A bad merge" in response.content.decode()
    tick = ChecklistTick.objects.get()
    assert (tick.item, tick.by, tick.note, tick.withdrawn) == ("issue", engineer, "A bad merge", False)
    row = rows_of(planned).first()
    assert row is not None
    assert (row.move, row.actor, row.data["item"]) == ("tick", engineer, "issue")
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert last.text == (
        f"Mei Tanaka ticked “Identify exact issue and root cause” for Rollback {planned.pk}: A bad merge"
    )


def test_wrong_method(client_for: ClientFor, planned: Rollback, engineer: User) -> None:
    assert client_for(engineer).get(url(planned)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, planned: Rollback, stranger: User, auditor: User) -> None:
    assert client.post(url(planned), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        response = client_for(person).post(url(planned), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role Engineer or above" in response.content.decode()
    assert not ChecklistTick.objects.exists()


def test_wrong_state(client_for: ClientFor, planned: Rollback, engineer: User, oncall: User) -> None:
    """Who comes second is told who was first; what evidence ticks, no person ticks."""
    client_for(oncall).post(url(planned), {"note": "A bad merge"})
    shown = client_for(engineer).post(url(planned), {"note": "A typo"}, follow=True).content.decode()
    assert "was ticked by Amara Okafor 0 s ago. You had written: “A typo”" in shown
    shown = client_for(engineer).post(url(planned, "validate"), {"note": "I looked"}, follow=True).content.decode()
    assert "“Validate each step” is not for a person to tick: the run has not come to it yet." in shown
    assert ChecklistTick.objects.count() == 1


def test_bad_input(client_for: ClientFor, planned: Rollback, engineer: User) -> None:
    client = client_for(engineer)
    assert "Say what you know about" in client.post(url(planned), {"note": " "}, follow=True).content.decode()
    assert "at most 2000" in client.post(url(planned), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post(url(planned, "lunch"), {"note": "x"}).status_code == 404
    assert client.post("/rollbacks/999/tick/issue/", {"note": "x"}).status_code == 404
    assert not ChecklistTick.objects.exists()
