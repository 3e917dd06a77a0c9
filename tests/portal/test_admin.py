"""The way into the admin: for whom there is something to do or to read, through the portal's one sign-in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from incidents import actions

ClientFor = Callable[[User], Client]
EVERYBODY = ["auditor", "tech_lead", "devops", "manager", "engineer", "oncall", "stranger"]


@pytest.fixture
def people(db: None, settings: Any, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, User]:
    """One of each role, with the rights that the seed gives."""
    settings.HOME = tmp_path
    found = {name: request.getfixturevalue(name) for name in EVERYBODY}
    call_command("seed", stdout=io.StringIO())
    return found


@pytest.mark.parametrize(
    ("who", "seen", "unseen"),
    [
        ("auditor", ["Ledger rows", "Rollbacks", "Approvals", "Steps", "Plans", "Incidents", "Reviews"], ["Sessions"]),
        ("tech_lead", ["Matrix versions", "Systems", "Emergency contacts"], ["Sessions"]),
        ("devops", ["Matrix versions", "Systems", "Emergency contacts"], ["Sessions"]),
        ("manager", ["Emergency contacts"], ["Systems", "Ledger rows", "Users"]),
    ],
)
def test_each_role_sees_what_it_is_for(
    client_for: ClientFor, people: dict[str, User], who: str, seen: list[str], unseen: list[str]
) -> None:
    page = client_for(people[who]).get("/admin/").content.decode()
    assert "Audit and settings" in page
    for name in seen:
        assert f">{name}</a>" in page, name
    for name in unseen:
        assert f">{name}</a>" not in page, name


def test_an_auditor_gets_no_button_at_all(client_for: ClientFor, people: dict[str, User]) -> None:
    page = client_for(people["auditor"]).get("/admin/").content.decode()
    assert 'class="addlink"' not in page
    assert 'class="changelink"' not in page
    assert 'class="viewlink"' in page


def test_who_has_nothing_to_do_there_is_not_let_in(
    client: Client, client_for: ClientFor, people: dict[str, User]
) -> None:
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/accounts/login/?next=")
    for who in ("engineer", "oncall", "stranger"):
        response = client_for(people[who]).get("/admin/", follow=True)
        assert response.status_code == 403, who
        assert "Audit and settings" not in response.content.decode()


def test_a_password_hash_is_shown_to_nobody(client_for: ClientFor, people: dict[str, User]) -> None:
    lead = people["tech_lead"]
    lead.set_password("correct horse battery staple")
    lead.save()
    page = client_for(people["auditor"]).get(f"/admin/auth/user/{lead.pk}/change/")
    assert page.status_code == 200
    assert lead.password.rsplit("$", 1)[1] not in page.content.decode()


def test_the_ledger_is_searched_and_filtered(client_for: ClientFor, people: dict[str, User]) -> None:
    incident = actions.declare(by=people["oncall"], title="Planner is down", severity="high", scope="multiple")
    actions.acknowledge(incident.pk, by=people["engineer"], note="On it")
    client = client_for(people["auditor"])

    def found(**query: str) -> list[str]:
        rows = client.get("/admin/ledger/ledger/", query).context["cl"].result_list
        return [row.move for row in rows]

    assert found(kind="incident") == ["acknowledge", "declare"]
    assert found(q="Mei Tanaka") == ["acknowledge"]
    assert found(q="Planner is down", move="declare") == ["declare"]
    assert found(q="nobody wrote this") == []
