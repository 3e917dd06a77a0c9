"""A list page asks the database as often for many rows as for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from incidents import actions as incidents
from portal.ledger.admin import ReadOnlyAdmin
from portal.ledger.roles import Role
from rollbacks import actions
from rollbacks.models import (
    Approval,
    ChecklistTick,
    HealthChange,
    Plan,
    RestorePoint,
    Rollback,
    RollbackLogEntry,
    Step,
    System,
)
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
                    RollbackLogEntry.write(rollback, outcome="succeeded", rollback_seconds=1.0)
                Rollback.objects.filter(pk=rollback.pk).update(state=state)
                plan = Plan.objects.create(rollback=rollback, number=1, digest="a" * 64, body={"shown": {}})
                Approval.objects.create(plan=plan, voter=by, vote="approve", roles="Tech Lead")
                ChecklistTick.objects.create(rollback=rollback, item="issue", by=by, note="A bad merge")
                Step.objects.create(run=rollback.run, number=1, name="switch", title="Switch")
            made.extend(systems)

    return add


PAGES = [
    "/",
    "/systems/",
    "/log/",
    "/log/?q=down",
    "/log/?severity=high&outcome=succeeded&until=2100-01-01",
    "/log/?system=agents-0",
    "/log/?format=json",
    "/log/?format=csv&q=agents",
    "/incidents/",
    "/incidents/?q=trouble&state=open",
    "/contacts/",
]
AUDIT = [
    "ledger/ledger",
    "rollbacks/rollback",
    "rollbacks/plan",
    "rollbacks/approval",
    "rollbacks/checklisttick",
    "rollbacks/step",
    "rollbacks/restorepoint",
    "rollbacks/rollbacklogentry",
    "rollbacks/system",
    "rollbacks/matrixversion",
    "incidents/incident",
    "incidents/timelineentry",
    "incidents/review",
    "incidents/emergencycontact",
]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_list_pages(client_for: ClientFor, fill: Callable[[int], None], tech_lead: User) -> None:
    constant(client_for(tech_lead), fill, PAGES)


def test_lists_of_the_audit(
    client_for: ClientFor, fill: Callable[[int], None], auditor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor.is_staff = True
    auditor.save()
    auditor.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    monkeypatch.setattr(ReadOnlyAdmin, "list_per_page", 1000)  # all rows on one page: a second one asks once more
    constant(client_for(auditor), fill, [f"/admin/{model}/{query}" for model in AUDIT for query in ("", "?q=a")])


def constant(client: Client, fill: Callable[[int], None], urls: list[str]) -> None:
    fill(1)
    few = {url: queries(client, url) for url in urls}
    fill(5)
    for url in urls:
        asked_for = queries(client, url)
        assert len(asked_for) == len(few[url]), f"{url}\n" + "\n".join(asked_for)
        assert len(asked_for) < 25


def queries(client: Client, url: str) -> list[str]:
    client.get(url)
    with CaptureQueriesContext(connection) as asked_for:
        response = client.get(url)
        assert response.status_code == 200, url
        list(response)  # what is written piece by piece asks on the way
    return [query["sql"] for query in asked_for.captured_queries]
