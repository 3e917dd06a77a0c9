"""The list: open first, and found by state, severity and text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from incidents.models import Incident

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]
Queries = Callable[[Client, str], int]


def rows(by: User, count: int, **more: Any) -> list[Incident]:
    now = timezone.now()
    given: dict[str, Any] = {"severity": "high", "scope": "single", "declared_by": by, **more}
    return Incident.objects.bulk_create(
        Incident(
            title=f"Trouble {number}",
            declared_at=now - timedelta(minutes=number),
            respond_by=now + timedelta(hours=1),
            **given,
        )
        for number in range(count)
    )


def test_open_ones_come_first(client_for: ClientFor, incident_in: IncidentIn, oncall: User) -> None:
    old = incident_in("mitigating")
    new = incident_in("closed")
    page = client_for(oncall).get("/incidents/").context["page"]
    assert list(page) == [old, new]
    assert client_for(oncall).get("/incidents/").context["open_count"] == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?state=open", {"declared", "mitigating"}),
        ("?state=closed", {"closed"}),
        ("?state=late", set()),
        ("?q=checkout", {"declared", "mitigating", "closed"}),
        ("?q=nothing", set()),
        ("?severity=low", set()),
        ("?severity=high&state=mitigating&q=500", {"mitigating"}),
        ("?state=rubbish", {"declared", "mitigating", "closed"}),
        ("?q=%00", {"declared", "mitigating", "closed"}),
    ],
)
def test_filter(client_for: ClientFor, incident_in: IncidentIn, oncall: User, query: str, found: set[str]) -> None:
    for state in ("declared", "mitigating", "closed"):
        incident_in(state)
    response = client_for(oncall).get("/incidents/" + query)
    assert response.status_code == 200
    assert {incident.state for incident in response.context["page"]} == found


def test_pages(client_for: ClientFor, oncall: User) -> None:
    rows(oncall, 120)
    client = client_for(oncall)
    first = client.get("/incidents/?severity=high")
    assert "1–25 of 120" in first.content.decode()
    assert 'href="?severity=high&amp;page=2"' in first.content.decode()
    assert len(client.get("/incidents/?page=5").context["page"]) == 20
    assert client.get("/incidents/?page=999").context["page"].number == 5
    assert client.get("/incidents/?page=rubbish").context["page"].number == 1


def test_empty(client_for: ClientFor, auditor: User) -> None:
    shown = client_for(auditor).get("/incidents/").content.decode()
    assert "No incident has been declared yet" in shown
    assert "This needs one of the roles" in shown
    assert "No incident fits" in client_for(auditor).get("/incidents/?q=x").content.decode()


def test_wrong_method_and_stranger(client: Client, client_for: ClientFor, oncall: User) -> None:
    assert client.get("/incidents/").status_code == 302
    assert client_for(oncall).post("/incidents/").status_code == 405


def test_the_number_of_queries_is_constant(client_for: ClientFor, oncall: User, queries: Queries) -> None:
    rows(oncall, 1)
    client = client_for(oncall)
    few = queries(client, "/incidents/")
    rows(oncall, 60)
    assert queries(client, "/incidents/") == few
