"""The broker carries hints, never the truth: what happens while it is down, and when it dies."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from portal.sample import layout
from portal.supervision import wait_until
from tests.processes.person import Person
from tests.processes.portal import Portal

AT_ONCE = 5.0  # seconds: a page that takes longer hangs
BACK = 45.0  # seconds from the broker's return to a service that is back


def test_stopped_between_approval_and_start(hasty: Portal) -> None:
    hasty.break_sample()
    rollback, run = hasty.ask_for_rollback()
    hasty.ask("await_state", rollback=rollback, states=["awaiting_approval"])
    lead = Person(hasty.url, "techlead")
    lost = hasty.worker_log().count("Connection to broker lost")
    hasty.supervisor.call("stopProcess", "broker")

    began = time.monotonic()
    shown = lead.post(f"/rollbacks/{rollback}/approve/", note="Plan read")
    assert time.monotonic() - began < AT_ONCE, "the page waited for the broker"
    assert "Henrik Lindqvist" in shown
    assert wait_until(lambda: hasty.worker_log().count("Connection to broker lost") > lost, 30)
    assert hasty.ask("story", run=run)["state"] == "approved", "nobody could be told, so nobody has begun"

    hasty.supervisor.call("startProcess", "broker")
    hasty.ask("await_state", rollback=rollback, states=["monitoring"], seconds=BACK)
    succeeded(hasty, rollback, run)


def test_killed_while_a_rollback_runs(hasty: Portal) -> None:
    rollback, run = hasty.approved_rollback()
    broker = pid_of(hasty, "broker")
    hasty.ask("await_step", run=run, step="try")
    os.kill(broker, signal.SIGKILL)

    hasty.ask("await_state", rollback=rollback, states=["monitoring"], seconds=BACK)
    moves = [row["move"] for row in succeeded(hasty, rollback, run)["ledger"]]
    assert not [move for move in moves if move.endswith("taken over")], "its worker needs no broker to go on"

    assert wait_until(lambda: pid_of(hasty, "broker") not in (0, broker), 10)
    asked = hasty.ask("backup", system=layout.NAME)
    made = hasty.ask("await_backup", point=asked["point"], seconds=BACK)
    assert made["state"] == "verified", "the next one is carried out as ever"


def succeeded(portal: Portal, rollback: int, run: int) -> dict[str, Any]:
    story = portal.check(run)
    assert portal.health() == 200
    assert {each["state"] for each in story["steps"]} == {"done"}
    portal.ask("complete", rollback=rollback)
    return story


def pid_of(portal: Portal, part: str) -> int:
    return next((each.pid for each in portal.supervisor.processes() if each.name == part), 0)
