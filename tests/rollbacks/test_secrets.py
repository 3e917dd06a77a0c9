"""What a machine said goes into the ledger, a step's trouble and an incident's timeline, which nobody can take back: no
secret may stand there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from incidents.models import Incident, TimelineEntry
from portal.ledger.models import Ledger
from rollbacks import actions, runner
from rollbacks.models import RestorePoint, Rollback, Step, System
from rollbacks.procedures import PROCEDURES, backup, base
from rollbacks.tools import probe
from tests.conftest import again, asked, manifest_text
from tests.conftest import git as by_hand

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "super-secret-token"  # in the .env of the checkout


def kept_for_ever() -> str:
    rows = list(Ledger.objects.values_list("note", "details"))
    return json.dumps(rows) + "".join(TimelineEntry.objects.values_list("text", flat=True))


def test_the_last_line_of_a_failing_test_command_shows_no_secret(
    incident: Incident, checkout: Path, oncall: User, tech_lead: User
) -> None:
    """`cannot connect with <token>` is how most programs end."""
    system = actions.add_system(by=None, text=manifest_text(checkout, "echo cannot connect: $(cat .env); exit 1"))[0]
    rollback = asked(system, oncall, incident=incident)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "reverted"
    step = Step.objects.get(run__rollback=rollback, name="try")
    assert "cannot connect: API_TOKEN=•••" in step.trouble
    assert "cannot connect" in kept_for_ever()
    assert SECRET not in kept_for_ever() + step.trouble + again(rollback).trouble


def test_an_undo_that_fails_shows_none(watched: Rollback, oncall: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of a held rollback are read by everybody who is called."""

    def refuse(context: base.Context) -> None:
        raise base.StepFailed(f"stop: no access with {SECRET}")

    code = PROCEDURES["code"]
    steps = (*code.steps[:-1], replace(code.steps[-1], undo=refuse))
    monkeypatch.setitem(PROCEDURES, "code", replace(code, steps=steps))
    actions.abort(watched.pk, by=oncall, note="It is worse")
    runner.carry(watched.run.pk)
    assert (again(watched).state, again(watched).trouble[-24:]) == ("held", "stop: no access with •••")
    assert SECRET not in kept_for_ever()


def test_a_service_that_tells_its_token_is_kept_without_it(system: System) -> None:
    runner.look(system, probe.Health(False, True, 500, 3, f"500: no access with {SECRET}"))
    assert System.objects.get(pk=system.pk).health_detail == "500: no access with •••"


def test_a_remote_that_refuses_the_tag_is_kept_without_its_password(matrix: None, checkout: Path, oncall: User) -> None:
    by_hand(checkout, "remote", "add", "origin", f"http://portal:{SECRET}@127.0.0.1:9/agents.git")
    text = manifest_text(checkout).replace("[commands]", "push_tags = true\n\n[commands]")
    point = actions.backup(system=actions.add_system(by=None, text=text)[0], by=oncall)
    runner.carry(point.run.pk)
    assert RestorePoint.objects.get(pk=point.pk).state == "verified"
    push = Step.objects.get(run__restore_point=point, name=backup.PROCEDURE.steps[-1].name)
    output = "".join(push.output.values_list("text", flat=True))
    assert "could not be pushed" in output
    assert SECRET not in output + json.dumps(push.facts) + kept_for_ever()
