"""The guide's section "Rollback Decision Matrix": which row holds for a request, and why."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from incidents.models import Review
from portal.ledger.roles import Role
from rollbacks import actions, runner
from rollbacks.models import Approval, DecisionRule, MatrixVersion, NoMatrix, System, decide
from tests.conftest import again, asked

ROWS = [  # severity, scope, procedure, from, to, role, immediate
    ("critical", "system-wide", "full", 15, 30, Role.ON_CALL, True),
    ("high", "multiple", "code", 10, 15, Role.TECH_LEAD, False),
    ("medium", "single", "partial", 5, 10, Role.ON_CALL, False),
    ("low", "config", "config", 0, 5, Role.ENGINEER, False),
]
FIELDS = ("severity", "scope", "procedure", "budget_from", "budget_to", "role", "immediate")
RULES = [DecisionRule(**dict(zip(FIELDS, row, strict=True))) for row in ROWS]
CRITICAL, HIGH, MEDIUM, LOW = RULES


def test_the_seed_is_the_guide(matrix: None) -> None:
    assert list(MatrixVersion.current().rules.order_by("pk").values_list(*FIELDS)) == ROWS
    assert actions.seed_matrix() is False, "seeding twice changes nothing"


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_each_row_holds_for_its_pair(rule: DecisionRule) -> None:
    decision = decide(RULES, rule.severity, rule.scope, rule.procedure)
    assert (decision.rule, decision.recommended, decision.off_matrix) == (rule, rule.procedure, False)
    assert decision.why.startswith(f"The row {rule} holds: ")
    assert rule.budget in decision.why
    assert rule.approval in decision.why


def test_in_words() -> None:
    assert [rule.budget for rule in RULES] == ["15–30 min", "10–15 min", "5–10 min", "under 5 min"]
    assert HIGH.approval == "one Tech Lead or above"
    assert DecisionRule(role="Tech Lead", quorum=2).approval == "2 × Tech Lead or above"
    assert CRITICAL.approval.startswith("Immediate: On-Call Engineer or above asks and it is approved")


@pytest.mark.parametrize(
    ("severity", "scope", "rule"),
    [
        ("high", "single", HIGH),  # shares severity with High, scope with Medium
        ("medium", "multiple", HIGH),
        ("low", "single", MEDIUM),
        ("low", "multiple", HIGH),
        ("critical", "config", LOW),  # Immediate asks for no second person: it is the least strict
        ("critical", "multiple", HIGH),
        ("high", "system-wide", HIGH),
        ("medium", "config", MEDIUM),
    ],
)
def test_off_the_matrix_the_stricter_row_holds(severity: str, scope: str, rule: DecisionRule) -> None:
    decision = decide(RULES, severity, scope, "config")
    assert (decision.rule, decision.recommended, decision.off_matrix) == (rule, "", True)
    assert f"is off the matrix, so the stricter row holds, {rule}: {rule.approval}." in decision.why


def test_a_pair_that_shares_nothing_takes_the_strictest_of_all() -> None:
    decision = decide([CRITICAL, HIGH, LOW], "medium", "single", "partial")
    assert (decision.rule, decision.off_matrix) == (HIGH, True)


def test_more_votes_are_stricter() -> None:
    two = DecisionRule(
        severity="medium", scope="config", procedure="config", budget_to=5, role=Role.TECH_LEAD, quorum=2
    )
    assert decide([HIGH, two], "high", "config", "config").rule is two


@pytest.mark.parametrize(
    ("rule", "procedure", "holds"),
    [
        (LOW, "code", HIGH),  # code reaches further than config
        (LOW, "partial", MEDIUM),
        (MEDIUM, "code", HIGH),
        (MEDIUM, "full", MEDIUM),  # the row that names full is Immediate, which is no stricter
    ],
)
def test_reaching_further_takes_the_stricter_approval(rule: DecisionRule, procedure: str, holds: DecisionRule) -> None:
    decision = decide(RULES, rule.severity, rule.scope, procedure)
    assert decision.rule == holds
    assert decision.off_matrix is False
    if holds is not rule:
        assert f"reaches further than {rule} allows, so the row {holds} holds" in decision.why
    assert "The matrix names" in decision.why


@pytest.mark.parametrize(
    ("rule", "procedure"), [(HIGH, "config"), (HIGH, "partial"), (HIGH, "dependencies"), (CRITICAL, "code")]
)
def test_smaller_ones_need_no_more(rule: DecisionRule, procedure: str) -> None:
    decision = decide(RULES, rule.severity, rule.scope, procedure)
    assert decision.rule == rule
    assert "was asked for." in decision.why


def test_without_rows() -> None:
    with pytest.raises(NoMatrix, match=r"manage\.py seed"):
        decide([], "high", "multiple", "code")


# --- Immediate ------------------------------------------------------------------------------------------------------

AT_ONCE: dict[str, Any] = {"severity": "critical", "scope": "system-wide"}


@pytest.mark.django_db(transaction=True)
def test_immediate_is_approved_with_the_request(system: System, oncall: User) -> None:
    """A Tech Lead looks at it afterwards: the review is due in 24 hours, and blocks closing the incident."""
    rollback = asked(system, oncall, **AT_ONCE)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "monitoring", again(rollback).trouble
    vote = Approval.objects.get()
    assert (vote.voter, vote.vote, vote.reason) == (oncall, "approve", "Immediate rule")
    review = Review.objects.get()
    assert (review.kind, review.opened_by, review.is_open) == ("immediate", oncall, True)
    assert round((review.due_at - review.opened_at).total_seconds()) == 24 * 3600


@pytest.mark.django_db(transaction=True)
def test_immediate_needs_the_role(system: System, engineer: User, oncall: User) -> None:
    """An Engineer may ask, and an On-Call Engineer has to vote."""
    rollback = asked(system, engineer, **AT_ONCE)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "awaiting_approval"
    assert not Review.objects.exists()
    assert "you are Engineer" in actions.may_vote(again(rollback), engineer)
    actions.approve(rollback.pk, by=oncall)
    assert again(rollback).state == "approved"


# --- versions -------------------------------------------------------------------------------------------------------


def test_a_new_version_does_not_change_old_rollbacks(system: System, oncall: User, tech_lead: User) -> None:
    old = asked(system, oncall)
    version = MatrixVersion.objects.create(number=2, note="Two people for code")
    for row in ROWS:
        DecisionRule.objects.create(version=version, quorum=2, **dict(zip(FIELDS, row, strict=True)))
    new = asked(system, oncall)
    assert MatrixVersion.current() == version
    assert [again(each).rule.version.number for each in (old, new)] == [1, 2]
    assert [again(each).rule.quorum for each in (old, new)] == [1, 2]
    assert "one Tech Lead or above" in again(old).decision
    assert "2 × Tech Lead or above" in again(new).decision
