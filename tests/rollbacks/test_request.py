from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import MatrixVersion, Rollback, System
from tests.conftest import again, asked, git

ClientFor = Callable[[User], Client]
URL = "/systems/agents/roll-back/"
WORDS = {"procedure": "code", "target": "v1", "severity": "high", "scope": "multiple", "reason": "500 since 2"}


def test_it_works(client_for: ClientFor, system: System, incident: Incident, engineer: User) -> None:
    client = client_for(engineer)
    page = client.get(URL + "?to=v1").content.decode()
    assert 'value="v1"' in page
    assert "Agents answer 500" in page, "the open incident's title is the first reason"
    assert "one Tech Lead or above" in page
    response = client.post(URL, {**WORDS, "incident": incident.pk}, follow=True)
    rollback = Rollback.objects.get()
    assert response.redirect_chain == [(f"/rollbacks/{rollback.pk}/", 302)]
    assert (rollback.state, rollback.requested_by, rollback.incident) == ("planning", engineer, incident)
    assert (str(rollback.rule), rollback.off_matrix) == ("High × Multiple components", False)
    row = rows_of(rollback).get()
    assert (row.move, row.target, row.actor, row.note) == ("request", "planning", engineer, "500 since 2")
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert "Mei Tanaka asked for" in last.text
    assert last.url == f"/rollbacks/{rollback.pk}/"


@pytest.mark.django_db(transaction=True)
def test_it_is_planned(client_for: ClientFor, rollback: Rollback, checkout: Path) -> None:
    runner.carry(rollback.run.pk)
    planned = again(rollback)
    assert planned.state == "awaiting_approval", planned.trouble
    assert planned.plan_now is not None
    shown = planned.plan_now.body["shown"]
    assert [each["subject"] for each in shown["left_behind"]] == ["Break it"]
    assert [each["path"] for each in shown["files"]] == ["app.py"]
    assert shown["target"]["tags"] == ["v1"]
    assert git(checkout, "status", "--porcelain") == "", "planning changes nothing"


@pytest.mark.django_db(transaction=True)
def test_a_target_that_is_not_there_is_refused(system: System, oncall: User) -> None:
    rollback = asked(system, oncall, target="v11")
    runner.carry(rollback.run.pk)
    refused = again(rollback)
    assert refused.state == "refused"
    assert "knows no commit, tag or branch 'v11'. Did you mean v1?" in refused.trouble


@pytest.mark.django_db(transaction=True)
def test_already_there_is_refused(system: System, oncall: User) -> None:
    rollback = asked(system, oncall, target="main")
    runner.carry(rollback.run.pk)
    assert "there is nothing to do" in again(rollback).trouble


def test_wrong_method(client_for: ClientFor, system: System, oncall: User) -> None:
    assert client_for(oncall).delete(URL).status_code == 405
    assert client_for(oncall).post("/systems/agents/matrix/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, system: System, stranger: User, auditor: User) -> None:
    assert client.post(URL, WORDS).headers["Location"].startswith("/accounts/login/")
    for person, said in ((stranger, "you are without a role"), (auditor, "you are Auditor")):
        assert f"You cannot ask for a rollback: this needs the role Engineer or above, and {said}" in (
            client_for(person).get(URL).content.decode()
        )
        response = client_for(person).post(URL, WORDS)
        assert response.status_code == 403
        assert "cannot roll agents back" in response.content.decode()
    assert not Rollback.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_wrong_state(planned: Rollback, oncall2: User) -> None:
    """One active rollback per system: the second one is refused, and says which one was faster."""
    second = asked(planned.system, oncall2)
    runner.carry(second.run.pk)
    refused = again(second)
    assert refused.state == "refused"
    assert refused.trouble == (
        f"Rollback {planned.pk} of agents is awaiting approval: wait for it, or cancel it, then ask again."
    )
    assert again(planned).state == "awaiting_approval"


def test_a_retired_system(client_for: ClientFor, system: System, oncall: User) -> None:
    System.objects.update(retired=True)
    response = client_for(oncall).post(URL, WORDS)
    assert response.status_code == 422
    assert "agents is retired: it gets no new rollbacks." in response.content.decode()
    assert "500 since 2" in response.content.decode()
    assert not Rollback.objects.exists()


def test_without_a_matrix(client_for: ClientFor, system: System, oncall: User) -> None:
    MatrixVersion.objects.get().rules.all().delete()
    MatrixVersion.objects.all().delete()
    assert "There is no decision matrix yet" in client_for(oncall).get(URL).content.decode()
    response = client_for(oncall).post(URL, WORDS)
    assert response.status_code == 422
    assert "There is no decision matrix yet: run `python manage.py seed`" in response.content.decode()


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("procedure", "format-disk", "not one of the available choices"),
        ("severity", "apocalyptic", "not one of the available choices"),
        ("scope", "", "This field is required"),
        ("target", "", "This field is required"),
        ("target", "v" * 101, "at most 100 characters"),
        ("target", "v1\x00", "Null characters are not allowed"),
        ("reason", "  ", "This field is required"),
        ("incident", "999", "not one of the available choices"),
    ],
)
def test_bad_input(client_for: ClientFor, system: System, oncall: User, field: str, wrong: str, said: str) -> None:
    response = client_for(oncall).post(URL, {**WORDS, "target": "tag-typed-by-hand", field: wrong})
    shown = response.content.decode()
    assert response.status_code == 422
    assert said in shown
    assert ("500 since 2" if field != "reason" else "tag-typed-by-hand") in shown, "what was typed is still there"
    assert not Rollback.objects.exists()


def test_the_matrix_answers_as_the_form_changes(client_for: ClientFor, system: System, oncall: User) -> None:
    client = client_for(oncall)
    url = "/systems/agents/matrix/"
    answer = client.get(url, {"procedure": "code", "severity": "low", "scope": "config"}).content.decode()
    assert "Code rollback reaches further than Low × Configuration only allows" in answer
    assert "<html" not in answer
    assert "Choose a procedure" in client.get(url, {"severity": "apocalyptic"}).content.decode()
    assert client.get("/systems/agentz/matrix/").status_code == 404


def test_no_system(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).get(URL).status_code == 404
    assert client_for(oncall).post(URL, WORDS).status_code == 404
