from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client

from incidents import actions
from incidents.models import Incident
from portal.ledger.models import rows_of
from portal.ledger.moves import NotAllowed

ClientFor = Callable[[User], Client]
URL = "/incidents/declare/"
TYPED = {"title": "Checkout answers 500", "severity": "high", "scope": "multiple", "summary": "Since 14:02"}


@time_machine.travel(datetime(2026, 3, 6, 14, 5, tzinfo=UTC), tick=False)
def test_it_works(client_for: ClientFor, manager: User) -> None:
    response = client_for(manager).post(URL, TYPED)
    incident = Incident.objects.get()
    assert response.headers["Location"] == f"/incidents/{incident.pk}/"
    assert (incident.state, incident.title, incident.summary) == ("declared", "Checkout answers 500", "Since 14:02")
    assert incident.respond_by == datetime(2026, 3, 6, 15, 5, tzinfo=UTC)
    assert incident.declared_by == manager
    row = rows_of(incident).get()
    assert (row.move, row.source, row.target, row.data) == (
        "declare",
        "",
        "declared",
        {"severity": "high", "scope": "multiple"},
    )
    assert [entry.text for entry in incident.timeline.all()] == ["Priya Raman declared the incident."]


@pytest.mark.parametrize(
    ("severity", "by"),
    [
        ("critical", datetime(2026, 3, 6, 14, 20, tzinfo=UTC)),
        ("high", datetime(2026, 3, 6, 15, 5, tzinfo=UTC)),
        ("medium", datetime(2026, 3, 6, 18, 5, tzinfo=UTC)),
        ("low", datetime(2026, 3, 9, 17, 0, tzinfo=UTC)),  # the 6th is a Friday
    ],
)
def test_time_to_respond(oncall: User, severity: str, by: datetime) -> None:
    with time_machine.travel(datetime(2026, 3, 6, 14, 5, tzinfo=UTC), tick=False):
        incident = actions.declare(by=oncall, title="x", severity=severity, scope="single")
        assert incident.respond_by == by
        assert not incident.is_late
    with time_machine.travel(datetime(2026, 3, 10, tzinfo=UTC), tick=False):
        assert incident.is_late


def test_wrong_method(client_for: ClientFor, engineer: User) -> None:
    client = client_for(engineer)
    assert client.delete(URL).status_code == 405
    shown = client.get(URL)
    assert shown.status_code == 200
    assert not Incident.objects.exists()


def test_stranger(client: Client, client_for: ClientFor, stranger: User, auditor: User) -> None:
    assert client.post(URL, TYPED).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        there = client_for(person)
        response = there.post(URL, TYPED)
        assert response.status_code == 403
        assert "cannot declare an incident: this needs one of the roles" in response.content.decode()
        assert "disabled" in there.get(URL).content.decode()
    assert not Incident.objects.exists()


def test_the_machine_declares_nothing(db: None) -> None:
    with pytest.raises(NotAllowed):
        actions.declare(by=None, title="x", severity="low", scope="config")


def test_bad_input(client_for: ClientFor, engineer: User) -> None:
    client = client_for(engineer)
    for wrong, said in (
        ({"title": ""}, "This field is required"),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"severity": "terrible"}, "terrible is not one of the available choices"),
        ({"scope": ""}, "This field is required"),
        ({"title": "nul\x00"}, "Null characters are not allowed"),
    ):
        response = client.post(URL, {**TYPED, **wrong})
        assert response.status_code == 422
        assert said in response.content.decode()
        assert "Since 14:02" in response.content.decode()
    assert not Incident.objects.exists()
