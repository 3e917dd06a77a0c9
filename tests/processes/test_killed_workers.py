"""kill -9 of the worker that is at work, in every step: its pool child alone, or all of its processes."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from portal.sample import layout
from portal.supervision import alive, wait_until
from tests.processes.portal import STEPS, Portal

WITHIN = 20.0  # seconds in which somebody else has the run
AFTER = {"environment": 0.5, "try": 0.5, "switch": 0.3}  # seconds into the step; else 0.1

both = pytest.mark.parametrize("whole", [False, True], ids=["pool child", "whole worker"])


@both
@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_taken_over(portal: Portal, step: str, whole: bool) -> None:
    if step == "environment":
        portal.forget_environments()
    rollback, run = portal.approved_rollback()
    hit = portal.freeze(run, step, whole=whole, after=AFTER.get(step, 0.1))

    assert portal.ask("kill", run=run, **hit) <= WITHIN

    story = succeeded(portal, rollback, run)
    assert f"step {step} taken over" in moves(story)
    assert story["token"] > hit["token"]


@both
def test_a_switch_goes_on_without_its_worker(portal: Portal, whole: bool) -> None:
    """The service hangs and is long in stopping: the successor comes while the first switch is still at work."""
    rollback, run = portal.approved_rollback()
    hung = portal.service()
    os.kill(hung.pid, signal.SIGSTOP)
    assert wait_until(lambda: portal.service().state == "STOPPING", 60), portal.service()
    hit = portal.freeze(run, "switch", whole=whole)

    assert portal.ask("kill", run=run, **hit) <= WITHIN
    portal.wait_for_switches(2)
    os.kill(hung.pid, signal.SIGCONT)

    story = succeeded(portal, rollback, run)
    assert "already switched" in portal.switches(story)


def test_the_main_process_alone_takes_its_pool_with_it(portal: Portal) -> None:
    """Nobody goes on unseen beside the worker that supervisor starts anew."""
    rollback, run = portal.approved_rollback()
    hit = portal.freeze(run, "try", whole=True, after=AFTER["try"])
    main, *children = hit["pids"]

    assert portal.ask("kill", run=run, token=hit["token"], pids=[main]) <= WITHIN

    assert not any(alive(pid) for pid in children)
    assert "step try taken over" in moves(succeeded(portal, rollback, run))


def test_a_watcher_that_hangs_keeps_nobody_from_taking_over(portal: Portal) -> None:
    """It looks at the files of every system, and one of them may be on a disk that does not answer."""
    rollback, run = portal.approved_rollback()
    watcher = portal.processes("watcher")
    portal.ask("stop", pids=watcher)
    try:
        hit = portal.freeze(run, "try", whole=True, after=AFTER["try"])
        assert portal.ask("kill", run=run, **hit) <= WITHIN
        succeeded(portal, rollback, run)
    finally:
        portal.ask("resume", pids=watcher)


def test_a_rollback_survives_a_blow_in_step_after_step(portal: Portal) -> None:
    rollback, run = portal.approved_rollback()
    for step in ("safety", "try", "switch", "health"):
        hit = portal.freeze(run, step)
        assert portal.ask("kill", run=run, **hit) <= WITHIN

    story = succeeded(portal, rollback, run)
    assert [move for move in moves(story) if move.endswith("taken over")] == [
        *("step safety taken over", "step try taken over", "step switch taken over", "step health taken over")
    ]


@both
def test_planning_is_begun_again(portal: Portal, whole: bool) -> None:
    portal.break_sample()
    rollback, run = portal.ask_for_rollback()
    hit = portal.freeze(run, "", whole=whole)

    assert portal.ask("kill", run=run, **hit) <= WITHIN

    portal.ask("await_state", rollback=rollback, states=["awaiting_approval"])
    assert moves(portal.ask("story", run=run)).count("plan") == 1
    portal.ask("approve", rollback=rollback)
    succeeded(portal, rollback, run)


@both
@pytest.mark.parametrize("step", ["tag", "verify"])
def test_a_backup_is_taken_over(portal: Portal, step: str, whole: bool) -> None:
    asked = portal.ask("backup", system=layout.NAME)
    run = asked["run"]
    hit = portal.freeze(run, step, whole=whole, after=0)

    assert portal.ask("kill", run=run, **hit) <= WITHIN

    made = portal.ask("await_backup", point=asked["point"])
    assert (made["state"], made["problem"]) == ("verified", "")
    story = portal.check(run)
    assert f"step {step} taken over" in moves(story)
    assert (portal.sample / "backups" / made["tag"] / "manifest.json").exists()


@pytest.mark.parametrize(("step", "whole"), [("switch", False), ("switch", True), ("tree", False)])
def test_an_undo_is_taken_over(portal: Portal, step: str, whole: bool) -> None:
    """Aborted during its watch: all of it goes back, the service to the release that was found."""
    rollback, run = portal.approved_rollback()
    portal.ask("await_state", rollback=rollback, states=["monitoring"])
    assert portal.health() == 200
    portal.ask("abort", rollback=rollback)
    hit = portal.freeze(run, step, state="undoing", whole=whole)

    assert portal.ask("kill", run=run, **hit) <= WITHIN

    portal.ask("await_state", rollback=rollback, states=["reverted"])
    story = portal.check(run)
    assert {each["state"] for each in story["steps"]} == {"undone"}
    assert portal.switches(story, "back").count("stopped in") == 1
    assert portal.health() == 500, "as it was found"
    assert layout.git(portal.root, "symbolic-ref", "--short", "HEAD") == "main"
    assert layout.git(portal.root, "status", "--porcelain") == ""


def succeeded(portal: Portal, rollback: int, run: int) -> dict[str, Any]:
    """The service is back, without a second outage and with nothing left behind; then its watch is ended."""
    state = portal.ask("await_state", rollback=rollback, states=["monitoring", "reverted"])
    story = portal.check(run)
    assert state == "monitoring", story["trouble"]
    assert portal.health() == 200
    assert {each["state"] for each in story["steps"]} == {"done"}
    assert portal.switches(story).count("stopped in") == 1, "the service is stopped once, whoever is killed"
    portal.ask("complete", rollback=rollback)
    return story


def moves(story: dict[str, Any]) -> list[str]:
    return [row["move"] for row in story["ledger"]]
