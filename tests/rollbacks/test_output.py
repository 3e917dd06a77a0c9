from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from rollbacks.models import Rollback

ClientFor = Callable[[User], Client]


def url(rollback: Rollback, number: int = 1) -> str:
    return f"/rollbacks/{rollback.pk}/steps/{number}/"


def test_it_works(client_for: ClientFor, watched: Rollback, auditor: User) -> None:
    client = client_for(auditor)
    response = client.get(url(watched))
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "MiB free" in response.content.decode()
    assert "$ true" in client.get(url(watched, 5)).content.decode()


def test_markup_stays_text(client_for: ClientFor, watched: Rollback, auditor: User) -> None:
    watched.run.steps.get(number=5).output.create(text="<script>alert(1)</script>\n")
    response = client_for(auditor).get(url(watched, 5))
    assert response.content.decode().endswith("<script>alert(1)</script>\n")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_before_it_runs(client_for: ClientFor, planned: Rollback, auditor: User) -> None:
    assert client_for(auditor).get(url(planned)).status_code == 404


def test_wrong_method(client_for: ClientFor, watched: Rollback, auditor: User) -> None:
    assert client_for(auditor).post(url(watched)).status_code == 405


def test_stranger(client: Client, watched: Rollback) -> None:
    assert client.get(url(watched)).headers["Location"].startswith("/accounts/login/")


def test_bad_input(client_for: ClientFor, watched: Rollback, auditor: User) -> None:
    assert client_for(auditor).get(url(watched, 10)).status_code == 404
    assert client_for(auditor).get("/rollbacks/999/steps/1/").status_code == 404
