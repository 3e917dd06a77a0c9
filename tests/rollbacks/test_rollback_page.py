"""One page for a rollback's whole life: what it shows in each state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from rollbacks import actions, runner
from rollbacks.models import Rollback, RollbackLogEntry, System
from tests.conftest import again, asked

ClientFor = Callable[[User], Client]


def page(client: Client, rollback: Rollback) -> str:
    response = client.get(f"/rollbacks/{rollback.pk}/")
    assert response.status_code == 200
    return response.content.decode()


def test_planning(client_for: ClientFor, rollback: Rollback, oncall: User) -> None:
    shown = page(client_for(oncall), rollback)
    assert "Planning" in shown
    assert "500 since 2" in shown
    assert "Agents answer 500" in shown


def test_the_plan(client_for: ClientFor, planned: Rollback, tech_lead: User) -> None:
    shown = page(client_for(tech_lead), planned)
    for said in ("Break it", "app.py", "one Tech Lead or above", "Approve", "the service is down in this step only"):
        assert said in shown
    assert "super-secret-token" not in shown
    assert "k1" not in shown.split("config/agents.json")[-1][:200], "a secret key of the configuration is hidden"


def test_the_expected_outage_is_that_of_rollbacks_that_succeeded(
    client_for: ClientFor, system: System, oncall: User, tech_lead: User, transactional_db: None
) -> None:
    for outcome, seconds in (("succeeded", 0.36), ("reverted", 0.0), ("reverted", 0.0)):
        before = asked(system, oncall)
        RollbackLogEntry.write(before, outcome=outcome, trigger="x", rollback_seconds=9, outage_seconds=seconds)
        actions.cancel(before.pk, by=oncall)
    rollback = asked(system, oncall)
    runner.carry(rollback.run.pk)
    shown = page(client_for(tech_lead), rollback)
    assert "Approve: roll back 1 commit on agents, about 0.36 s of outage" in shown
    assert "about 0.36 s</summary>" in shown


def test_buttons_say_why_not(client_for: ClientFor, planned: Rollback, oncall: User, auditor: User) -> None:
    shown = page(client_for(oncall), planned)
    assert "you asked for it, and nobody approves their own request" in shown
    assert "Override the approval" in shown
    shown = page(client_for(auditor), planned)
    assert "only the requester or an approver may do this" in shown
    assert f'action="/rollbacks/{planned.pk}/' not in shown, "an auditor reads everything and changes nothing"


def test_after_the_run(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    shown = page(client_for(oncall), watched)
    for said in ("Monitoring", "Switch: stop, put in place, start", "is back and verified", "from start to verified"):
        assert said in shown
    assert f"/rollbacks/{watched.pk}/steps/6/" in shown


def test_held(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    shown = page(client_for(oncall), held)
    for said in ("it cannot go on or back by itself", "Resume", "Undo everything", "Settle: finished by hand"):
        assert said in shown


@pytest.mark.django_db(transaction=True)
def test_refused(client_for: ClientFor, system: System, oncall: User) -> None:
    rollback = asked(system, oncall, target="<b>v9</b>")
    runner.carry(rollback.run.pk)
    shown = page(client_for(oncall), again(rollback))
    assert "No plan could be made; nothing was changed" in shown
    assert "is no name of a commit, tag or branch" in shown
    assert "<b>v9</b>" not in shown


def test_long_output_is_cut(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    step = watched.run.steps.get(number=5)
    step.output.create(text="x" * 50_000 + "the end")
    shown = page(client_for(oncall), watched)
    assert "the end" in shown
    assert "x" * 20_000 not in shown


def test_wrong_method(client_for: ClientFor, rollback: Rollback, oncall: User) -> None:
    assert client_for(oncall).post(f"/rollbacks/{rollback.pk}/").status_code == 405


def test_stranger(client: Client, rollback: Rollback) -> None:
    assert client.get(f"/rollbacks/{rollback.pk}/").headers["Location"].startswith("/accounts/login/")


def test_bad_input(client_for: ClientFor, oncall: User) -> None:
    for pk in ("999", "99999999999999999999", "x", "-1"):
        assert client_for(oncall).get(f"/rollbacks/{pk}/").status_code == 404
