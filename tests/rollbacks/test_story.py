"""The spine: asked for, planned, approved by the right person, carried out, recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from incidents.models import Incident
from rollbacks import runner
from rollbacks.log_format import markdown
from rollbacks.models import Rollback, RollbackState
from tests.conftest import again, git

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_approved_rollback_brings_the_system_back(approved: Rollback, checkout: Path, tech_lead: User) -> None:
    runner.carry(approved.run.pk)

    rollback = again(approved)
    assert rollback.state == RollbackState.MONITORING, rollback.trouble
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")
    assert (checkout / "app.py").read_text() == "VERSION = 1\n"
    assert [step.state for step in rollback.run.steps.all()] == ["done"] * 9
    assert Incident.objects.get(pk=rollback.incident_id).state == "monitoring"
    assert "### " in markdown([rollback.log_entry])
