from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks import keeping, tasks
from rollbacks.models import RestorePoint

ClientFor = Callable[[User], Client]


def url(point: RestorePoint) -> str:
    return f"/restore-points/{point.pk}/verify/"


def test_it_works(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    response = client_for(engineer).post(url(point), follow=True)
    assert response.redirect_chain == [(f"/restore-points/{point.pk}/", 302)]
    assert "is read back by the worker on local" in response.content.decode()
    tasks.verify(point.pk)  # the message that was sent
    read = RestorePoint.objects.get()
    assert read.state == "verified"
    assert read.verified_at > point.verified_at
    assert [(row.move, row.actor) for row in rows_of(point)[:2]] == [("verify", None), ("ask to verify", engineer)]


def test_the_message_goes_to_the_keeper_of_its_host(
    client_for: ClientFor, point: RestorePoint, engineer: User, monkeypatch: object
) -> None:
    """Never to the queue of runs: a gigabyte takes seconds."""
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr("rollbacks.tasks.send", lambda *words, **options: sent.append(words))  # type: ignore[attr-defined]
    client_for(engineer).post(url(point))
    assert sent == [(tasks.verify, "keep.local", point.pk)]


def test_wrong_method(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    assert client_for(engineer).get(url(point)).status_code == 405
    assert rows_of(point).first().move == "verify"  # type: ignore[union-attr]


def test_stranger(client: Client, client_for: ClientFor, point: RestorePoint, stranger: User, auditor: User) -> None:
    assert client.post(url(point)).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        response = client_for(person).post(url(point))
        assert response.status_code == 403
        assert "cannot have a restore point read back: this needs the role Engineer" in response.content.decode()


def test_wrong_state(client_for: ClientFor, point: RestorePoint, engineer: User) -> None:
    RestorePoint.objects.filter(pk=point.pk).update(state="pruned")
    response = client_for(engineer).post(url(point), follow=True)
    assert "is pruned: there is nothing to read." in response.content.decode()
    assert keeping.read_back(point.pk).state == "pruned"


def test_bad_input(client_for: ClientFor, engineer: User) -> None:
    assert client_for(engineer).post("/restore-points/999/verify/").status_code == 404
