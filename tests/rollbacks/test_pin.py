from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks.models import RestorePoint

ClientFor = Callable[[User], Client]


def url(point: RestorePoint) -> str:
    return f"/restore-points/{point.pk}/pin/"


def test_it_works(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    response = client_for(engineer).post(url(point), follow=True)
    assert response.redirect_chain == [(f"/restore-points/{point.pk}/", 302)]
    assert "is pinned: it is never removed." in response.content.decode()
    assert RestorePoint.objects.get().pinned
    response = client_for(engineer).post(url(point), {"unpin": "1"}, follow=True)
    assert "is no longer pinned." in response.content.decode()
    assert not RestorePoint.objects.get().pinned
    assert [(row.move, row.actor) for row in rows_of(point)[:2]] == [("unpin", engineer), ("pin", engineer)]


def test_wrong_method(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    assert client_for(engineer).get(url(point)).status_code == 405
    assert not RestorePoint.objects.get().pinned


def test_stranger(client: Client, client_for: ClientFor, point: RestorePoint, stranger: User, auditor: User) -> None:
    assert client.post(url(point)).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        response = client_for(person).post(url(point))
        assert response.status_code == 403
        assert "cannot pin a restore point: this needs the role Engineer" in response.content.decode()
    assert not RestorePoint.objects.get().pinned


def test_wrong_state(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    """Pinned twice is pinned: it is a mark, not a move."""
    for _ in range(2):
        client_for(engineer).post(url(point))
    assert RestorePoint.objects.get().pinned


def test_bad_input(client_for: ClientFor, engineer: User) -> None:
    assert client_for(engineer).post("/restore-points/999/pin/").status_code == 404
