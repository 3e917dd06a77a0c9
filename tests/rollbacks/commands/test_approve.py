from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from portal.ledger.models import rows_of
from rollbacks import actions, runner
from rollbacks.models import Approval, DecisionRule, Rollback, RollbackLogEntry
from tests.conftest import again, commit, git, manifest_text
from tests.rollbacks.commands.conftest import Give, Manage


def test_it_works_without_any_broker(manage: Manage, planned: Rollback, checkout: Path, tech_lead: User) -> None:
    """The night when the broker is down: approved and carried out by one command, with the same record."""
    said = manage("approve", planned.pk, "--as", "techlead", "--reason", "Go", "--local", "--wait", "--json")
    assert said.code == 0, said
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")
    entry = RollbackLogEntry.objects.get()
    known = {name: said.json[name] for name in ("id", "state", "system", "rollback_seconds", "downtime_seconds")}
    assert known == {
        "id": planned.pk,
        "state": "monitoring",
        "system": "agents",
        "rollback_seconds": entry.rollback_seconds,
        "downtime_seconds": None,  # this system has no health URL: nothing is claimed that nobody measured
    }
    vote = Approval.objects.get()
    assert (vote.voter, vote.reason) == (tech_lead, "Go")
    typed_by = pwd.getpwuid(os.getuid()).pw_name
    accounts = {row.move: row.data.get("os_account") for row in rows_of(planned)}
    assert (accounts["approve"], accounts["vote approve"]) == (typed_by, typed_by), "whatever LOGNAME says"
    assert (accounts["start"], accounts["request"]) == (None, None), "what the machine did, and what came by a page"
    assert [row.move for row in rows_of(planned).filter(target__gt="")[:3]] == ["watch", "start", "approve"]
    lines = said.out.splitlines()
    assert lines[0] == f"Rollback {planned.pk} is approved"
    assert "  6. Switch: stop, put in place, start: done" in lines
    assert f"Rollback {planned.pk} is monitoring" in lines
    assert "  2. Safety point: keep the state as found: running" in lines, "told while it happens"


def test_without_wait_it_is_a_vote(give: Give, planned: Rollback, tech_lead: User) -> None:
    said = give("approve", planned.pk, "--as", "techlead", "--json")
    assert (said.code, said.json["state"], again(planned).state) == (0, "approved", "approved")


@pytest.mark.parametrize("command", ["approve", "reject"])
def test_a_digest_that_is_not_the_plans_gives_no_vote(
    give: Give, planned: Rollback, tech_lead: User, command: str
) -> None:
    words = (command, planned.pk, "--as", "techlead", "--reason", "As I read it", "--digest")
    said = give(*words, "0123456789")
    assert said.code == 1
    assert "has changed since you read it" in said.err
    assert again(planned).state == "awaiting_approval"
    plan = planned.plan_now
    assert plan is not None
    assert give(*words, plan.digest[:10]).code == 0


def test_local_on_another_host_is_refused_in_words(
    give: Give, planned: Rollback, checkout: Path, tech_lead: User, settings: Any
) -> None:
    settings.HOST = "beta"
    said = give("approve", planned.pk, "--as", "techlead", "--local", "--wait", "--json")
    assert said.code == 1
    assert "agents is on the host local, and this is beta: nothing of it was touched here." in said.err
    assert said.json["state"] == again(planned).state == "approved", "the vote counts"
    assert git(checkout, "show", "-s", "--format=%s") == "Break it"


def test_nobody_approves_their_own(give: Give, planned: Rollback, oncall: User) -> None:
    said = give("approve", planned.pk, "--as", "oncall", "--local", "--wait")
    assert said.code == 1
    assert "you asked for it, and nobody approves their own request" in said.err
    assert again(planned).state == "awaiting_approval"
    assert not Approval.objects.exists()


def test_who_comes_second_is_told_who_was_faster(give: Give, approved: Rollback, tech_lead2: User) -> None:
    said = give("approve", approved.pk, "--as", "techlead2", "--json")
    assert said.code == 1
    assert f"Rollback {approved.pk} was approved by Henrik Lindqvist" in said.err
    assert said.json["state"] == "approved"
    assert Approval.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_wait_fails_when_the_rollback_was_undone(
    give: Give, rollback: Rollback, checkout: Path, tech_lead: User
) -> None:
    """The release that is gone back to fails its own tests: nothing is switched, and the exit code says so."""
    actions.add_system(by=None, text=manifest_text(checkout, test="echo 3 of 9 failed; exit 3"))
    runner.carry(rollback.run.pk)
    said = give("approve", rollback.pk, "--as", "techlead", "--local", "--wait", "--json")
    assert (said.code, said.json["state"]) == (1, "reverted")
    assert "Run the system's own tests on what is staged" in said.json["trouble"]
    assert said.json["trouble"] in said.out
    assert git(checkout, "show", "-s", "--format=%s") == "Break it"


def test_wait_fails_when_others_carry_it_out_and_it_is_undone(
    manage: Manage, rollback: Rollback, checkout: Path, tech_lead: User
) -> None:
    actions.add_system(by=None, text=manifest_text(checkout, test="false"))
    runner.carry(rollback.run.pk)
    with manage.begun("approve", rollback.pk, "--as", "techlead", "--wait", "--json") as waiting:
        waiting.until_said(f"Rollback {rollback.pk} is approved")
        runner.carry(rollback.run.pk)
        said = waiting.ended()
    assert (said.code, said.json["state"]) == (1, "reverted")
    assert "the broker is down" in said.err, "nobody wonders why nothing happens"


@pytest.mark.django_db(transaction=True)
def test_a_vote_that_is_void_ends_the_waiting_and_says_what_moved(
    give: Give, planned: Rollback, checkout: Path, tech_lead: User
) -> None:
    commit(checkout, "Somebody was faster", app_py="VERSION = 3\n")
    said = give("approve", planned.pk, "--as", "techlead", "--local", "--wait", "--json")
    assert (said.code, said.json["state"]) == (1, "awaiting_approval")
    assert "The approval is void, because the system has changed: the deployed commit changed" in said.out
    assert give("approve", planned.pk, "--as", "techlead", "--local", "--wait").code == 0


@pytest.mark.django_db(transaction=True)
def test_one_vote_of_two_waits_for_the_other(
    manage: Manage, planned: Rollback, tech_lead: User, tech_lead2: User
) -> None:
    DecisionRule.objects.filter(pk=planned.rule_id).update(quorum=2)
    with manage.begun("approve", planned.pk, "--as", "techlead", "--local", "--wait", "--json") as waiting:
        waiting.until_said(f"Rollback {planned.pk} is awaiting approval")
        actions.approve(planned.pk, by=tech_lead2)
        said = waiting.ended()
    assert (said.code, said.json["state"]) == (0, "monitoring")
    assert again(planned).run.claims == 2, "one for the plan, one for the rest: waiting claims nothing"
