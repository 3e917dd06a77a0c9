"""The audit's lists: what is looked for is found however much there is, and nobody is told less than the truth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client

from incidents.models import Incident
from portal.ledger import admin
from portal.ledger.models import Ledger, record

ClientFor = Callable[[User], Client]
NOW = datetime(2096, 3, 31, 12, tzinfo=UTC)


@pytest.fixture
def reading(client_for: ClientFor, auditor: User) -> Callable[[str], str]:
    """The ledger's list in the admin, as the auditor sees it."""
    auditor.is_staff = True
    auditor.save()
    auditor.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = client_for(auditor)

    def read(query: str = "") -> str:
        response = client.get(f"/admin/ledger/ledger/{query}")
        assert response.status_code == 200, query
        return response.content.decode()

    return read


@pytest.fixture
def written(incident: Incident, oncall: User) -> list[Ledger]:
    """Notes of the last days of two years and of their months."""
    rows = []
    for days in (460, 91, 90, 1, 0):
        with time_machine.travel(NOW - timedelta(days=days), tick=False), transaction.atomic():
            rows.append(record(incident, "pin", by=oncall, note=f"Pinned ({days} days before)"))
    return rows


def said(page: str) -> list[int]:
    return [days for days in (460, 91, 90, 1, 0) if f"({days} days before)" in page]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?period=2096", [90, 1, 0]),
        ("?period=2095", [91]),
        ("?period=2095-12", [91]),
        ("?period=2096-01", [90]),
        ("?period=2096-03", [1, 0]),
        ("?period=2094-12", [460]),
        ("?period=1999", []),
        ("?period=2096-13", [460, 91, 90, 1, 0]),
        ("?period=rubbish", [460, 91, 90, 1, 0]),
        ("?period=0-0", [460, 91, 90, 1, 0]),
        ("?move=pin", [460, 91, 90, 1, 0]),
        ("?move=declare", []),
        ("?kind=incident&period=2095", [91]),
        ("?kind=rollback", []),
    ],
)
def test_filters(reading: Callable[[str], str], written: list[Ledger], query: str, found: list[int]) -> None:
    assert said(reading(query)) == found


def test_the_filters_offer_what_there_is(reading: Callable[[str], str], written: list[Ledger]) -> None:
    page = reading("?period=2095")
    for choice in ("?period=2094", "?period=2096", "period=2095-12", "move=pin", "move=declare", "kind=incident"):
        assert choice in page, choice
    assert "December 2095" in page
    assert "December 2094" not in page, "only the months of the chosen year"


def test_a_search_ends_and_says_so(
    reading: Callable[[str], str], written: list[Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "SEARCHED", 2)
    page = reading("?q=days+before")
    assert said(page) == [1, 0]
    assert "Only the newest 2 rows were searched." in page
    page = reading("?q=days+before&period=2095")
    assert said(page) == [91], "a filter leads to the older ones"
    assert "rows were searched." not in page


def test_far_pages(reading: Callable[[str], str], written: list[Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.LedgerAdmin, "list_per_page", 2)
    pages = [said(reading(f"?move=pin&p={number}")) for number in (1, 2, 3)]
    assert pages == [[1, 0], [91, 90], [460]]
