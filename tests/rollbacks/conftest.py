"""Rollbacks in the states that a worker brings them to, with a real worker's moves on a real repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from rollbacks import actions, runner
from rollbacks.heartbeat import Heartbeat
from rollbacks.models import RestorePoint, Rollback, System
from tests.conftest import again


@pytest.fixture
def point(system: System, oncall: User, transactional_db: None) -> RestorePoint:
    """A verified backup of the bad release."""
    made = actions.backup(system=system, by=oncall, reason="before 3")
    runner.carry(made.run.pk)
    made = RestorePoint.objects.get(pk=made.pk)
    assert made.state == "verified", made.problem
    return made


@pytest.fixture
def running(approved: Rollback) -> Rollback:
    """Started; its worker has ended before the first step."""
    mine = runner.claim(approved.run.pk)
    assert mine is not None
    with Heartbeat(mine.run, mine.token) as heart:
        runner.turn(mine, heart)
    runner.release(mine)
    return again(approved)


@pytest.fixture
def watched(approved: Rollback) -> Rollback:
    """Carried out; its health is under watch."""
    runner.carry(approved.run.pk)
    return again(approved)


@pytest.fixture
def other_portal(checkout: Path) -> Path:
    """The host's fence, with the token of another portal: no worker of ours may write there until it is removed."""
    fence = checkout / ".rollback" / "fence"
    fence.parent.mkdir(exist_ok=True)
    fence.write_text(json.dumps({"token": 999, "holder": "another portal"}))
    return fence


@pytest.fixture
def held(approved: Rollback, other_portal: Path) -> Rollback:
    """Put on hold by the machine: it cannot know who else is at work on the host. What stood in the way is gone now."""
    runner.carry(approved.run.pk)
    other_portal.unlink()
    rollback = again(approved)
    assert rollback.state == "held", rollback.trouble
    return rollback
