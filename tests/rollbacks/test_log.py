from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from rollbacks.log_format import as_csv, markdown
from rollbacks.models import Rollback, RollbackLogEntry, System
from tests.conftest import asked

ClientFor = Callable[[User], Client]


def entry(rollback: Rollback, **changes: object) -> RollbackLogEntry:
    words = {"outcome": "succeeded", "trigger": rollback.reason, "rollback_seconds": 42.0, "at": timezone.now()}
    return RollbackLogEntry.objects.create(rollback=rollback, **{**words, **changes})


@pytest.fixture
def entries(system: System, oncall: User) -> list[RollbackLogEntry]:
    first = entry(asked(system, oncall, reason="Agents answer 500"), outage_seconds=0.36)
    second = entry(asked(system, oncall, reason="Slow <b>agents</b>", severity="low"), outcome="reverted")
    return [first, second]


def test_it_works(client_for: ClientFor, entries: list[RollbackLogEntry], auditor: User) -> None:
    shown = client_for(auditor).get("/log/").content.decode()
    assert "Agents answer 500" in shown
    assert "0.36 s" in shown
    assert "Slow &lt;b&gt;agents&lt;/b&gt;" in shown
    assert shown.index("Slow") < shown.index("Agents answer 500"), "the newest first"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("?q=slow", 1),
        ("?q=agents&severity=high", 1),
        ("?outcome=reverted", 1),
        ("?system=agents", 2),
        ("?q=nothing+like+it", 0),
        ("?severity=apocalyptic", 2),
        ("?system=billing", 2),
        ("?page=99", 2),
    ],
)
def test_the_filter(
    client_for: ClientFor, entries: list[RollbackLogEntry], oncall: User, query: str, found: int
) -> None:
    response = client_for(oncall).get(f"/log/{query}")
    assert response.status_code == 200
    assert len(response.context["page"].object_list) == found


def test_exports(client_for: ClientFor, entries: list[RollbackLogEntry], auditor: User) -> None:
    client = client_for(auditor)
    newest_first = [entries[1], entries[0]]
    got = client.get("/log/?format=markdown")
    assert got.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert got.content.decode() == markdown(newest_first)
    assert client.get("/log/?format=csv").content.decode() == as_csv(newest_first)
    assert [row["id"] for row in json.loads(client.get("/log/?format=json&q=slow").content)] == [entries[1].rollback_id]


def test_empty(client_for: ClientFor, system: System, oncall: User) -> None:
    client = client_for(oncall)
    assert "Nothing was rolled back yet." in client.get("/log/").content.decode()
    assert "No entry fits this filter." in client.get("/log/?q=x").content.decode()
    assert client.get("/log/?format=markdown").content == b"## Rollback Log\n"
    assert json.loads(client.get("/log/?format=json").content) == []


def test_wrong_method(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).post("/log/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, entries: list[RollbackLogEntry]) -> None:
    for query in ("", "?format=json"):
        assert client.get(f"/log/{query}").headers["Location"].startswith("/accounts/login/")


def test_the_list_of_rollbacks_is_the_log(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).get("/rollbacks/").headers["Location"] == "/log/"
