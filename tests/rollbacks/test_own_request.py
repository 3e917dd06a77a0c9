"""No way in: whoever asks for a rollback does not approve it, by whatever door. Only the Immediate rule lets them, and
only those who hold its role; an override is no approval, and leaves a debt. (Page by page: test_approve.py,
test_override.py; by command: commands/test_approve.py.)"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from incidents.models import Incident, Review
from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused, NotAllowed, advance
from rollbacks import actions, runner
from rollbacks.models import Approval, DecisionRule, MatrixVersion, Rollback, System
from tests.conftest import again, asked, git

ClientFor = Callable[[User], Client]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lead(tech_lead: User) -> User:
    """Holds the role that the rule asks for, signs into the admin as a superuser, and asks for the rollback."""
    User.objects.filter(pk=tech_lead.pk).update(is_staff=True, is_superuser=True)
    return User.objects.get(pk=tech_lead.pk)


@pytest.fixture
def own(system: System, incident: Incident, lead: User) -> Rollback:
    rollback = asked(system, lead, incident=incident)
    runner.carry(rollback.run.pk)
    return again(rollback)


def is_untouched(rollback: Rollback) -> bool:
    moves = [row.move for row in rows_of(rollback).order_by("number")]
    return not Approval.objects.exists() and (again(rollback).state, moves) == (
        "awaiting_approval",
        ["request", "plan"],
    )


def test_by_the_page(client_for: ClientFor, own: Rollback, lead: User, oncall: User) -> None:
    client = client_for(lead)
    plainly: dict[str, str] = {}
    in_another_name = {"note": "Go", "by": "oncall", "voter": "1", "user": "1", "requested_by": "1", "immediate": "on"}
    with_a_state = {"_method": "PUT", "state": "approved", "plan": "1", "vote": "approve"}
    headers = [{}, {"HTTP_X_HTTP_METHOD_OVERRIDE": "PUT"}, {"HTTP_HX_REQUEST": "true"}, {"REMOTE_USER": "oncall"}]
    for typed in (plainly, in_another_name, with_a_state):
        for header in headers:
            response = client.post(f"/rollbacks/{own.pk}/approve/", typed, **header)  # type: ignore[arg-type]
            assert response.status_code == 403
            assert "you asked for it, and nobody approves their own request" in response.content.decode()
    for method in (client.get, client.put, client.patch, client.head, client.delete):
        assert method(f"/rollbacks/{own.pk}/approve/").status_code == 405
    assert is_untouched(own)


def test_by_another_site(own: Rollback, oncall: User, tech_lead2: User) -> None:
    """A page elsewhere that has the approver's browser send it: without the token of our own page nothing happens."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(tech_lead2)
    assert client.post(f"/rollbacks/{own.pk}/approve/", {"note": "Go"}).status_code == 403
    assert is_untouched(own)


def test_by_the_form_in_another_persons_name(client_for: ClientFor, system: System, lead: User, oncall: User) -> None:
    words = {"procedure": "code", "target": "v1", "severity": "high", "scope": "multiple", "reason": "500"}
    client_for(lead).post(
        "/systems/agents/roll-back/", {**words, "requested_by": oncall.pk, "rule": 1, "by": oncall.pk}
    )
    rollback = Rollback.objects.get()
    assert rollback.requested_by == lead
    assert str(rollback.rule) == "High × Multiple components"


def test_by_the_admin(client_for: ClientFor, own: Rollback, lead: User, oncall: User) -> None:
    client = client_for(lead)
    assert own.plan_now is not None
    tries: list[tuple[str, dict[str, Any]]] = [
        (f"/admin/rollbacks/rollback/{own.pk}/change/", {"state": "approved", "requested_by": oncall.pk}),
        ("/admin/rollbacks/approval/add/", {"plan": own.plan_now.pk, "voter": oncall.pk, "vote": "approve"}),
        (f"/admin/rollbacks/plan/{own.plan_now.pk}/change/", {"digest": "x"}),
        (f"/admin/rollbacks/matrixversion/{own.rule.version_id}/change/", {"note": "x", "rules-0-immediate": "on"}),
        (f"/admin/rollbacks/decisionrule/{own.rule_id}/change/", {"immediate": "on"}),
    ]
    for url, typed in tries:
        assert client.post(url, typed).status_code in (403, 404), url
    assert is_untouched(own)
    assert (again(own).requested_by, again(own).rule.immediate) == (lead, False)


def test_by_a_new_version_of_the_matrix(own: Rollback, lead: User) -> None:
    """What was asked for is decided by the version of then."""
    version = MatrixVersion.objects.create(number=2, note="All at once")
    DecisionRule.objects.create(
        version=version,
        severity="high",
        scope="multiple",
        procedure="code",
        role="Engineer",
        immediate=True,
        budget_from=0,
        budget_to=5,
    )
    with pytest.raises(NotAllowed, match="nobody approves their own request"):
        actions.approve(own.pk, by=lead)
    assert is_untouched(own)


def test_by_a_matrix_that_they_have_just_written(
    system: System, lead: User, tech_lead2: User, time_machine: Any
) -> None:
    """A version that calls it Immediate, and a request under it: somebody else has to look, for a day."""

    def ask(by: User) -> Rollback:
        rollback = asked(system, by)
        runner.carry(rollback.run.pk)
        return again(rollback)

    version = MatrixVersion.objects.create(number=2, note="All at once", made_by=lead)
    words = {"severity": "high", "scope": "multiple", "procedure": "code", "role": "Tech Lead"}
    DecisionRule.objects.create(version=version, **words, immediate=True, budget_from=0, budget_to=5)
    own = ask(lead)
    with pytest.raises(NotAllowed, match="nobody approves their own request"):
        actions.approve(own.pk, by=lead)
    assert is_untouched(own)
    assert "Henrik Lindqvist wrote that row within the last 24 h" in own.decision
    actions.cancel(own.pk, by=lead)
    others = ask(tech_lead2)
    assert others.state == "monitoring", "who did not write it"
    actions.complete(others.pk, by=tech_lead2, note="Fine")
    git(system.manifest.root, "checkout", "-q", "main")
    time_machine.move_to(timezone.now() + timedelta(hours=25))
    assert ask(lead).state == "monitoring"


def test_by_the_move_itself(own: Rollback, lead: User) -> None:
    for by in (lead, None):
        with pytest.raises(NotAllowed), transaction.atomic():
            advance(Rollback.objects.locked(own.pk), "approve", by=by)
    assert is_untouched(own)


def test_by_an_override_and_a_vote_after_it(own: Rollback, incident: Incident, lead: User, checkout: Any) -> None:
    """The override is theirs (break-glass), the approval never: not even when the override is void."""
    actions.override(own.pk, by=lead, note="Nobody answers")
    with pytest.raises(MoveRefused, match="was overridden by Henrik Lindqvist"):
        actions.approve(own.pk, by=lead)
    (checkout / "app.py").write_text("VERSION = 4\n")
    runner.carry(own.run.pk)
    assert again(own).state == "awaiting_approval"
    with pytest.raises(NotAllowed, match="nobody approves their own request"):
        actions.approve(own.pk, by=lead)
    assert not Approval.objects.exists()
    review = Review.objects.get()
    assert (review.incident, review.is_open) == (incident, True)


def test_an_engineer_neither_approves_nor_overrides_their_own(system: System, engineer: User) -> None:
    """Also where the rule asks for no more than an Engineer."""
    rollback = asked(system, engineer, severity="low", scope="config")
    Rollback.objects.filter(pk=rollback.pk).update(rule=DecisionRule.objects.get(role="Engineer"))
    runner.carry(rollback.run.pk)
    with pytest.raises(NotAllowed, match="nobody approves their own request"):
        actions.approve(rollback.pk, by=engineer)
    with pytest.raises(NotAllowed, match="needs the role On-Call Engineer or above"):
        actions.override(rollback.pk, by=engineer, note="Now")
    assert again(rollback).state == "awaiting_approval"


def test_immediate_lets_nobody_in_who_does_not_hold_its_role(system: System, engineer: User, oncall: User) -> None:
    rollback = asked(system, engineer, severity="critical", scope="system-wide")
    runner.carry(rollback.run.pk)
    for verb in ("approve", "reject"):
        with pytest.raises(NotAllowed, match="needs the role On-Call Engineer or above, and you are Engineer"):
            getattr(actions, verb)(rollback.pk, by=engineer, note="Now")
    assert again(rollback).state == "awaiting_approval"
    assert not Approval.objects.exists()


def test_immediate_holds_for_the_role_at_the_moment_of_the_plan(system: System, oncall: User) -> None:
    """Whoever lost the role between asking and planning needs somebody else's vote."""
    rollback = asked(system, oncall, severity="critical", scope="system-wide")
    oncall.groups.clear()
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "awaiting_approval"
    assert not Review.objects.exists()
