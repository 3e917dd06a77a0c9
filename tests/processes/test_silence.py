"""What falls silent: a broker that is stopped, dies or hangs (it carries hints, never the truth), and a worker that
stands still for longer than its lease: whatever it wakes up to, it writes nothing more."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from portal.sample import layout
from portal.supervision import wait_until
from tests.processes.person import Person
from tests.processes.portal import Portal

AT_ONCE = 5.0  # seconds: a page that takes longer hangs
BACK = 45.0  # seconds from the broker's return to the start of what waits: a worker asks for it every 2, 4, 6 … s
LET_GO = "this worker lets go"

# --- the broker -----------------------------------------------------------------------------------------------------


def test_a_broker_that_is_stopped_between_approval_and_start(hasty: Portal) -> None:
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
    hasty.ask("await_state", rollback=rollback, states=["running", "monitoring"], seconds=BACK)
    hasty.ask("await_state", rollback=rollback, states=["monitoring"])
    succeeded(hasty, rollback, run)


def test_a_broker_that_is_killed_while_a_rollback_runs(hasty: Portal) -> None:
    rollback, run = hasty.approved_rollback()
    broker = hasty.pid("broker")
    hasty.ask("await_step", run=run, step="try")
    os.kill(broker, signal.SIGKILL)

    hasty.ask("await_state", rollback=rollback, states=["monitoring"])
    moves = [row["move"] for row in succeeded(hasty, rollback, run)["ledger"]]
    assert not [move for move in moves if move.endswith("taken over")], "its worker needs no broker to go on"

    assert wait_until(lambda: hasty.pid("broker") not in (0, broker), 10)
    asked = hasty.ask("backup", system=layout.NAME)
    made = hasty.ask("await_backup", point=asked["point"])
    assert made["state"] == "verified", "the next one is carried out as ever"


def test_a_broker_that_hangs_keeps_nobody_waiting(hasty: Portal) -> None:
    hasty.break_sample()
    rollback, run = hasty.ask_for_rollback()
    hasty.ask("await_state", rollback=rollback, states=["awaiting_approval"])
    lead = Person(hasty.url, "techlead")
    broker = hasty.pid("broker")
    os.kill(broker, signal.SIGSTOP)

    began = time.monotonic()
    shown = lead.post(f"/rollbacks/{rollback}/approve/", note="Plan read")
    took = time.monotonic() - began
    os.kill(broker, signal.SIGCONT)

    assert took < AT_ONCE, "the page waited for the broker"
    assert "Henrik Lindqvist" in shown
    hasty.ask("await_state", rollback=rollback, states=["monitoring"])
    succeeded(hasty, rollback, run)


# --- the worker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["safety", "tree", "try", "switch", "record"])
def test_a_worker_that_wakes_up_when_all_is_over(hasty: Portal, step: str) -> None:
    rollback, run = hasty.approved_rollback()
    frozen = hasty.freeze(run, step)
    hasty.ask("await_successor", run=run, token=frozen["token"])
    hasty.ask("await_state", rollback=rollback, states=["monitoring"])
    before, host = hasty.ask("story", run=run), on_the_host(hasty)

    wake(hasty, frozen)

    assert hasty.ask("story", run=run) == before
    assert on_the_host(hasty) == host
    succeeded(hasty, rollback, run)


@pytest.mark.parametrize("step", ["tree", "try", "switch"])
def test_a_worker_that_wakes_up_while_its_successor_works(hasty: Portal, step: str) -> None:
    rollback, run = hasty.approved_rollback()
    frozen = hasty.freeze(run, step)
    hasty.ask("await_successor", run=run, token=frozen["token"])

    wake(hasty, frozen)

    hasty.ask("await_state", rollback=rollback, states=["monitoring"])
    succeeded(hasty, rollback, run)


def wake(portal: Portal, frozen: dict[str, Any]) -> None:
    """Until it has noticed, and said so."""
    said = portal.worker_log().count(LET_GO)
    portal.ask("resume", pids=frozen["pids"])
    assert wait_until(lambda: portal.worker_log().count(LET_GO) > said, 20), portal.worker_log()[-2000:]


def on_the_host(portal: Portal) -> dict[str, str]:
    """What the portal wrote there, by path."""
    own = portal.root / ".rollback"
    kept = {
        str(path): path.read_text(errors="replace")
        for folder in ("found", "switches", "stage", "commands")
        for path in (own / folder).rglob("*")
        if path.is_file()
    }
    return kept | {
        "fence": (own / "fence").read_text(),
        "HEAD": layout.git(portal.root, "rev-parse", "HEAD"),
        "refs": layout.git(portal.root, "for-each-ref"),
        "status": layout.git(portal.root, "status", "--porcelain"),
        "service": f"PID {portal.service().pid}",  # which becomes RUNNING by itself, a second after its start
    }


def succeeded(portal: Portal, rollback: int, run: int) -> dict[str, Any]:
    story: dict[str, Any] = portal.check(run)
    assert portal.health() == 200
    assert {each["state"] for each in story["steps"]} == {"done"}
    portal.ask("complete", rollback=rollback)
    return story
