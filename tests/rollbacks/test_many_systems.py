"""More systems than one page holds: none is out of reach, and an unhealthy one is on the overview whatever its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from rollbacks.models import Health, System
from tests.conftest import manifest_text

ClientFor = Callable[[User], Client]


@pytest.fixture
def many(system: System, checkout: Path) -> list[System]:
    """101 of them, `agents` included; the one with the last name is unhealthy."""
    text = manifest_text(checkout)
    made = [System(name=f"billing-{number:03}", manifest_text=text) for number in range(100)]
    made[-1].health = Health.UNHEALTHY
    return System.objects.bulk_create(made)


def test_the_list_has_pages(client_for: ClientFor, many: list[System], auditor: User) -> None:
    client = client_for(auditor)
    first, last = (client.get(f"/systems/?page={number}").content.decode() for number in (1, 3))
    assert "1–40 of 101" in first
    assert '<a rel="next" href="?page=2">After</a>' in first
    assert "billing-099" not in first
    assert "81–101 of 101" in last
    assert "billing-099" in last
    assert "agents" not in last.partition("<tbody>")[2]


def test_the_overview_shows_the_first_and_what_is_unhealthy(
    client_for: ClientFor, many: list[System], auditor: User
) -> None:
    shown = client_for(auditor).get("/").content.decode()
    unhealthy, _, table = shown.partition('id="systems"')
    assert "billing-099 is unhealthy" in unhealthy
    assert table.count('href="/systems/billing-') == 14
    assert '<a class="small" href="/systems/">All 101</a>' in table


def test_few_need_no_way_to_all_of_them(client_for: ClientFor, system: System, auditor: User) -> None:
    assert ">All 1<" not in client_for(auditor).get("/").content.decode()
