"""A release that was left behind is marked bad, and whoever asks for it again is warned, and not refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import actions, runner
from rollbacks.models import RestorePoint, Rollback, System
from tests.conftest import again, asked, git
from tests.rollbacks.commands.conftest import give  # noqa: F401

ClientFor = Callable[[User], Client]


@pytest.fixture
def left(checkout: Path, watched: Rollback, oncall: User) -> RestorePoint:
    """The safety point of a rollback that is complete: what it left behind. Its release has a name."""
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    point = RestorePoint.objects.get(found_by=watched)
    git(checkout, "tag", "v2", point.commit)
    runner.refresh(System.objects.get())
    return point


def test_the_state_that_was_left_is_marked_with_its_rollback(left: RestorePoint, watched: Rollback) -> None:
    assert (left.bad, left.bad_by, left.found_by) == (True, None, watched)
    assert left.bad_reason == f"left behind by Rollback {watched.pk}, 500 since 2"
    assert left.bad_at is not None
    assert (row := rows_of(left).first()) is not None
    assert (row.move, row.actor, row.note) == ("mark bad", None, left.bad_reason)


@pytest.mark.parametrize("name", ["tag", "sha", "short"])
def test_however_it_is_named_the_plan_and_the_approver_are_warned(
    client_for: ClientFor, left: RestorePoint, incident: Incident, oncall: User, tech_lead: User, name: str
) -> None:
    target = {"tag": "v2", "sha": left.commit, "short": left.commit[:8]}[name]
    rollback = asked(left.system, oncall, target=target)
    runner.carry(rollback.run.pk)
    shown = client_for(tech_lead).get(f"/rollbacks/{rollback.pk}/").content.decode()
    assert "The target is a release that was marked bad" in shown
    assert left.bad_reason in shown
    assert f"{incident}: Agents answer 500" in shown
    assert '<p class="trouble small">Marked bad:' in shown.split('id="do"')[1], "beside the button"
    actions.approve(rollback.pk, by=tech_lead)
    assert again(rollback).state == "approved", "a warning, and no refusal"


def test_the_form_marks_it_among_the_choices(client_for: ClientFor, left: RestorePoint, oncall: User) -> None:
    shown = client_for(oncall).get("/systems/agents/roll-back/").content.decode()
    before = shown.split('data-fill="v2"')
    assert len(before) == 1, "the sample's head is v1 now: v2 is above it, and no choice of its log"
    git(left.system.manifest.root, "checkout", "-q", "v2")
    git(left.system.manifest.root, "commit", "-q", "--allow-empty", "-m", "On top")
    runner.refresh(System.objects.get())
    shown = client_for(oncall).get("/systems/agents/roll-back/").content.decode()
    choice = shown.split('data-fill="v2"')[1].split("</li>")[0]
    assert '<span class="state" data-state="bad">Marked bad</span>' in choice


def test_the_command_says_it(give: Callable[..., object], left: RestorePoint, oncall: User) -> None:  # noqa: F811
    words = ["--to", "v2", "--severity", "high", "--scope", "multiple", "--reason", "Back", "--as", "oncall"]
    said = give("rollback", "agents", *words, "--local")
    assert f"Warning: {left.commit[:10]} was marked bad " in said.out  # type: ignore[attr-defined]
    assert said.code == 0  # type: ignore[attr-defined]


def test_the_restore_points_page_says_which_rollback_left_it(
    client_for: ClientFor, left: RestorePoint, watched: Rollback, auditor: User
) -> None:
    shown = client_for(auditor).get(f"/restore-points/{left.pk}/").content.decode()
    assert f'left behind by Rollback {watched.pk}, 500 since 2 (<a href="/rollbacks/{watched.pk}/">' in shown


def test_marked_good_it_warns_no_more(left: RestorePoint, oncall: User) -> None:
    actions.mark_bad(left.pk, by=oncall, reason="")
    assert RestorePoint.bad_release(left.system, left.commit) is None


def test_what_was_undone_is_not_bad_but_a_persons_mark_stays(watched: Rollback, oncall: User) -> None:
    point = RestorePoint.objects.get(found_by=watched)
    actions.abort(watched.pk, by=oncall, note="v1 is worse")
    runner.carry(watched.run.pk)
    assert again(watched).state == "reverted"
    after = RestorePoint.objects.get(pk=point.pk)
    assert (after.bad, after.bad_reason, after.bad_at) == (False, "", None)
    assert [row.move for row in rows_of(point)[:2]] == ["mark good", "mark bad"]


def test_a_persons_mark_stays(watched: Rollback, oncall: User) -> None:
    point = RestorePoint.objects.get(found_by=watched)
    actions.mark_bad(point.pk, by=oncall, reason="It leaks")
    actions.abort(watched.pk, by=oncall, note="v1 is worse")
    runner.carry(watched.run.pk)
    after = RestorePoint.objects.get(pk=point.pk)
    assert (after.bad, after.bad_reason, after.bad_by) == (True, "It leaks", oncall)
    assert "by Amara Okafor: It leaks" in after.mark


@pytest.mark.parametrize("procedure", ["config", "dependencies", "state"])
def test_a_rollback_that_left_the_code_in_place_marks_no_release(left: RestorePoint, procedure: str) -> None:
    Rollback.objects.update(procedure=procedure)
    assert RestorePoint.bad_release(left.system, left.commit) is None
