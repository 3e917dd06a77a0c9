from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks.models import Rollback, RollbackLogEntry
from tests.conftest import again

ClientFor = Callable[[User], Client]
WORDS = {"root_cause": "A model's limit was halved", "prevention": "A test with a long dialogue"}


def url(rollback: Rollback) -> str:
    return f"/log/{again(rollback).log_entry.pk}/explain/"


def test_it_works(client_for: ClientFor, watched: Rollback, engineer: User) -> None:
    client = client_for(engineer)
    response = client.post(url(watched), WORDS, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{watched.pk}/", 302)]
    assert "A test with a long dialogue" in response.content.decode()
    entry = RollbackLogEntry.objects.get()
    assert (entry.root_cause, entry.prevention) == tuple(WORDS.values())
    row = rows_of(watched).first()
    assert row is not None
    assert (row.move, row.actor) == ("explain", engineer)
    assert row.data["before"] == {"root_cause": "Under investigation", "prevention": "Under investigation"}


def test_what_stood_there_is_kept(client_for: ClientFor, watched: Rollback, engineer: User) -> None:
    client_for(engineer).post(url(watched), WORDS)
    client_for(engineer).post(url(watched), {"root_cause": "Something else", "prevention": ""})
    entry = RollbackLogEntry.objects.get()
    assert (entry.root_cause, entry.prevention) == ("Something else", "Under investigation")
    assert rows_of(watched)[0].data["before"] == WORDS


def test_wrong_method(client_for: ClientFor, watched: Rollback, engineer: User) -> None:
    assert client_for(engineer).get(url(watched)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, watched: Rollback, stranger: User, auditor: User) -> None:
    assert client.post(url(watched), WORDS).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        response = client_for(person).post(url(watched), WORDS)
        assert response.status_code == 403
        assert "cannot explain a log entry" in response.content.decode()
    assert RollbackLogEntry.objects.get().root_cause == "Under investigation"


def test_bad_input(client_for: ClientFor, watched: Rollback, engineer: User) -> None:
    client = client_for(engineer)
    response = client.post(url(watched), {**WORDS, "prevention": "x" * 10_001}, follow=True)
    assert "The log entry was not changed" in response.content.decode()
    assert "at most 10000 characters" in response.content.decode()
    assert client.post("/log/999/explain/", WORDS).status_code == 404
    assert RollbackLogEntry.objects.get().root_cause == "Under investigation"
