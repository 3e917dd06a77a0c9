"""A list page asks the database as often for thirty rows as for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from incidents import actions as incidents
from portal.ledger.roles import Role
from rollbacks import actions
from rollbacks.models import HealthChange, RestorePoint, Rollback, RollbackLogEntry, System
from tests.conftest import asked, manifest_text, person

ClientFor = Callable[[User], Client]


@pytest.fixture
def fill(matrix: None, checkout: Path) -> Callable[[int], None]:
    """So many incidents, each with a system whose rollback is to be decided and one whose rollback is held."""
    made: list[System] = []

    def add(until: int) -> None:
        for number in range(len(made) // 2, until):
            by = person(f"person{number}", f"Person {number}", Role.TECH_LEAD)
            systems = []
            for name in (f"agents-{number}", f"held-{number}"):
                text = manifest_text(checkout).replace('name = "agents"', f'name = "{name}"')
                system, _ = actions.add_system(by=None, text=text)
                System.objects.filter(pk=system.pk).update(health="unhealthy", health_detail="500")
                HealthChange.objects.create(system=system, health="unhealthy", detail="500")
                RestorePoint.objects.create(system=system, tag="backup-1", made_by=by)
                systems.append(system)
            incident = incidents.declare(by=by, title=f"Trouble {number}", severity="high", scope="multiple")
            incidents.open_review(incident=incident, kind="override", subject="x", url="/", reason="Down", by=by)
            states = ("completed", "completed", "awaiting_approval", "held")
            for system, state in zip([*systems, *systems], states, strict=True):
                rollback = asked(system, by, incident=incident)
                if state == "completed":
                    RollbackLogEntry.objects.create(rollback=rollback, outcome="succeeded", rollback_seconds=1.0)
                Rollback.objects.filter(pk=rollback.pk).update(state=state)
            made.extend(systems)

    return add


@pytest.mark.parametrize("url", ["/", "/systems/", "/log/", "/log/?format=json", "/incidents/", "/contacts/"])
def test_list_pages(client_for: ClientFor, fill: Callable[[int], None], tech_lead: User, url: str) -> None:
    client = client_for(tech_lead)
    counts = []
    for rows in (1, 30):
        fill(rows)
        client.get(url)
        with CaptureQueriesContext(connection) as asked_for:
            response = client.get(url)
        assert response.status_code == 200
        counts.append(len(asked_for))
    assert counts[0] == counts[1], "\n".join(query["sql"] for query in asked_for.captured_queries)
    assert counts[1] < 25
