from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from rollbacks.log_format import as_csv, markdown
from rollbacks.models import Rollback, RollbackLogEntry, System
from rollbacks.views import log
from tests.conftest import asked

ClientFor = Callable[[User], Client]
# The test's client is no ASGI server: it takes a stream in one piece, and Django warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")


def entry(rollback: Rollback, **changes: object) -> RollbackLogEntry:
    words = {"outcome": "succeeded", "trigger": rollback.reason, "rollback_seconds": 42.0, "at": timezone.now()}
    return RollbackLogEntry.write(rollback, **{**words, **changes})


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
        ("?until=2025-01-01", 0),
        ("?until=tomorrow", 2),
        ("?severity=low&q=slow&outcome=reverted", 1),
        ("?system=agents&severity=low", 1),
        (f"?q={'x' * 101}", 2),
    ],
)
def test_the_filter(
    client_for: ClientFor, entries: list[RollbackLogEntry], oncall: User, query: str, found: int
) -> None:
    response = client_for(oncall).get(f"/log/{query}")
    assert response.status_code == 200
    assert len(response.context["page"].object_list) == found
    assert response.context["page"].paginator.count == found


def test_a_search_ends_and_says_where(
    client_for: ClientFor, system: System, oncall: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SEARCHED", 2)
    now = timezone.now()
    ages = [400, 2, 1, 0]
    for days in ages:
        entry(asked(system, oncall, reason=f"Slow for {days} days"), at=now - timedelta(days=days))
    client = client_for(oncall)
    shown = client.get("/log/?q=slow").content.decode()
    assert [f"Slow for {days} days" in shown for days in ages] == [False, False, True, True]
    assert "was searched for these words" in shown
    further = client.get(f"/log/?q=slow&until={now - timedelta(days=2):%Y-%m-%d}").content.decode()
    assert [f"Slow for {days} days" in further for days in ages] == [True, True, False, False]
    assert "was searched for these words" not in further
    assert text(client.get("/log/?q=slow&format=markdown")).count("### ") == 4, "an export reads all of them"


def text(response: Any) -> str:
    return b"".join(response).decode()


@pytest.mark.parametrize("piece", [200, 1])
def test_exports(
    client_for: ClientFor,
    entries: list[RollbackLogEntry],
    auditor: User,
    monkeypatch: pytest.MonkeyPatch,
    piece: int,
) -> None:
    monkeypatch.setattr(log, "PIECE", piece)
    client = client_for(auditor)
    newest_first = [entries[1], entries[0]]
    got = client.get("/log/?format=markdown")
    assert got.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert text(got) == markdown(newest_first)
    assert text(client.get("/log/?format=csv")) == as_csv(newest_first)
    found = json.loads(text(client.get("/log/?format=json&q=slow")))
    assert [row["id"] for row in found] == [entries[1].rollback_id]


def test_empty(client_for: ClientFor, system: System, oncall: User) -> None:
    client = client_for(oncall)
    assert "Nothing was rolled back yet." in client.get("/log/").content.decode()
    assert "No entry fits this filter." in client.get("/log/?q=x").content.decode()
    assert text(client.get("/log/?format=markdown")) == "## Rollback Log\n"
    assert json.loads(text(client.get("/log/?format=json"))) == []


def test_wrong_method(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).post("/log/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, entries: list[RollbackLogEntry]) -> None:
    for query in ("", "?format=json"):
        assert client.get(f"/log/{query}").headers["Location"].startswith("/accounts/login/")


def test_the_list_of_rollbacks_is_the_log(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).get("/rollbacks/").headers["Location"] == "/log/"
