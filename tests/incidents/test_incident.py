"""The page of one incident: what is wrong, what is happening, what can I do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from incidents import actions
from incidents.models import Incident, Review
from incidents.views import LINES
from rollbacks.models import DecisionRule, Rollback, System
from tests.conftest import look_back

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]
Queries = Callable[[Client, str], int]


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("declared", ["acknowledge", "mitigate", "cancel"]),
        ("acknowledged", ["mitigate", "monitor", "resolve", "cancel"]),
        ("mitigating", ["monitor", "resolve", "cancel"]),
        ("monitoring", ["resolve", "reopen"]),
        ("resolved", ["close", "reopen"]),
        ("closed", []),
        ("cancelled", []),
    ],
)
def test_moves(
    client_for: ClientFor,
    incident_in: IncidentIn,
    oncall: User,
    engineer: User,
    auditor: User,
    state: str,
    offered: list[str],
) -> None:
    incident = incident_in(state)
    if state == "resolved":
        look_back(incident, oncall, engineer)
    moves = actions.moves(Incident.objects.get(pk=incident.pk), oncall)
    assert [move.name for move in moves] == offered
    assert [move.name for move in moves if move.primary] == offered[:1]
    assert not any(move.why_not for move in moves)
    shown = client_for(oncall).get(f"/incidents/{incident.pk}/").content.decode()
    for name in offered:
        assert f'formaction="/incidents/{incident.pk}/{name}/"' in shown
    assert all("you are Auditor" in move.why_not for move in actions.moves(incident, auditor))


def test_a_button_that_may_not_be_used_says_why(client_for: ClientFor, incident_in: IncidentIn, auditor: User) -> None:
    shown = client_for(auditor).get(f"/incidents/{incident_in('declared').pk}/").content.decode()
    assert "This needs the role Engineer or above, and you are Auditor" in shown
    assert shown.count("disabled") == 5


def test_late(client_for: ClientFor, incident_in: IncidentIn, oncall: User) -> None:
    incident, client = incident_in("declared"), client_for(oncall)
    assert "Nobody has acknowledged it" not in client.get(f"/incidents/{incident.pk}/").content.decode()
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert "Nobody has acknowledged it" in client.get(f"/incidents/{incident.pk}/").content.decode()


def test_escaping(client_for: ClientFor, oncall: User) -> None:
    bad = "<script>alert(1)</script>"
    incident = actions.declare(by=oncall, title=bad, severity="low", scope="config", summary=bad)
    actions.note(incident.pk, by=None, text=bad)
    assert "<script>alert" not in client_for(oncall).get(f"/incidents/{incident.pk}/").content.decode()


def test_wrong_method_and_stranger(
    client: Client, client_for: ClientFor, incident_in: IncidentIn, oncall: User
) -> None:
    url = f"/incidents/{incident_in('declared').pk}/"
    assert client.get(url).headers["Location"] == f"/accounts/login/?next={url}"
    assert client_for(oncall).post(url).status_code == 405
    assert client_for(oncall).get("/incidents/999/").status_code == 404


def link(incident: Incident, by: User, name: str) -> None:
    """A system of that name, and a rollback of it, belong to the incident."""
    system = System.objects.create(name=name, manifest_text="")
    system.incidents.add(incident)
    rule = DecisionRule.objects.all()[0]
    Rollback.objects.create(system=system, incident=incident, requested_by=by, rule=rule, procedure="code")


def test_what_belongs_to_it_is_shown(client_for: ClientFor, incident_in: IncidentIn, oncall: User) -> None:
    incident = incident_in("mitigating")
    call_command("seed", verbosity=0)
    link(incident, oncall, "agents")
    shown = client_for(oncall).get(f"/incidents/{incident.pk}/").content.decode()
    assert 'href="/systems/agents/roll-back/"' in shown
    assert "Code rollback of agents" in shown


def test_the_number_of_queries_is_constant(
    client_for: ClientFor,
    incident_in: IncidentIn,
    review_of: Callable[..., Review],
    oncall: User,
    oncall2: User,
    queries: Queries,
) -> None:
    incident, client = incident_in("mitigating"), client_for(oncall)
    call_command("seed", verbosity=0)
    review_of(incident, oncall)
    link(incident, oncall, "agents")
    few = queries(client, f"/incidents/{incident.pk}/")
    for by, name in ((oncall, "shop"), (oncall2, "mail")):
        actions.note(incident.pk, by=by, text="Another one")
        review_of(incident, by)
        link(incident, by, name)
    assert queries(client, f"/incidents/{incident.pk}/") == few


def test_a_long_timeline_is_cut(client_for: ClientFor, incident_in: IncidentIn, oncall: User) -> None:
    incident = incident_in("mitigating")
    for number in range(LINES):
        actions.note(incident.pk, by=None, text=f"Note {number}")
    shown = client_for(oncall).get(f"/incidents/{incident.pk}/")
    assert len(shown.context["timeline"]) == LINES
    assert "Older lines" in shown.content.decode()
