"""What nobody decides, and what no worker starts, ends by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from incidents.models import Incident, Review
from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Approval, DecisionRule, Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def later(time_machine: Any, minutes: float) -> None:
    time_machine.move_to(timezone.now() + timedelta(minutes=minutes))


def test_it_works(planned: Rollback, incident: Incident, time_machine: Any) -> None:
    later(time_machine, 59)
    assert runner.expire() == []
    later(time_machine, 2)
    assert runner.expire() == [planned]
    after = again(planned)
    assert (after.state, after.ended_at is not None) == ("expired", True)
    row = rows_of(planned).first()
    assert row is not None
    assert (row.move, row.source, row.actor, row.note) == ("expire", "awaiting_approval", None, "after 60 min")
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert "has expired" in last.text
    assert runner.expire() == [], "once is enough"


def test_approved_and_never_started(approved: Rollback, time_machine: Any) -> None:
    later(time_machine, 61)
    assert runner.expire() == [approved]
    assert again(approved).state == "expired"
    runner.carry(approved.run.pk)
    assert again(approved).state == "expired", "an old approval starts nothing"


def test_the_rule_says_how_long(planned: Rollback, time_machine: Any) -> None:
    """The minutes are those of the rule at planning: the plan was made with 60."""
    DecisionRule.objects.update(expires_minutes=5)
    later(time_machine, 6)
    assert runner.expire() == []


def test_too_late_to_vote(client_for: ClientFor, planned: Rollback, tech_lead: User, time_machine: Any) -> None:
    client = client_for(tech_lead)
    later(time_machine, 61)
    runner.expire()
    shown = client.post(f"/rollbacks/{planned.pk}/approve/", {"note": "Go"}, follow=True).content.decode()
    assert f"Rollback {planned.pk} was expired by the portal" in shown
    assert again(planned).state == "expired"


@pytest.mark.parametrize("move", ["approve", "reject", "override"])
def test_too_late_although_no_sweep_has_noticed(
    client_for: ClientFor, planned: Rollback, tech_lead: User, time_machine: Any, move: str
) -> None:
    """The sweeper may have been down for hours: what was to be decided in an hour is not decided then."""
    client = client_for(tech_lead)
    later(time_machine, 61)
    shown = client.post(f"/rollbacks/{planned.pk}/{move}/", {"note": "Go"}, follow=True).content.decode()
    assert f"Rollback {planned.pk} was to be decided until" in shown
    assert "Ask again if it is still needed." in shown
    assert again(planned).state == "awaiting_approval"
    assert not Approval.objects.exists()
    assert not Review.objects.exists()


def test_what_runs_does_not_expire(running: Rollback, time_machine: Any) -> None:
    later(time_machine, 600)
    assert runner.expire() == []
    assert again(running).state == "running"
