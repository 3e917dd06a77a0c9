"""A worker that stands still for longer than its lease has lost it: whatever it wakes up to, it writes nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from portal.sample import layout
from portal.supervision import wait_until
from tests.processes.portal import Portal

LET_GO = "this worker lets go"


@pytest.mark.parametrize("step", ["safety", "tree", "try", "switch", "record"])
def test_it_wakes_up_when_all_is_over(hasty: Portal, step: str) -> None:
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
def test_it_wakes_up_while_its_successor_works(hasty: Portal, step: str) -> None:
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
        "service": str(layout.supervisor(portal.sample).processes()),
    }


def succeeded(portal: Portal, rollback: int, run: int) -> dict[str, Any]:
    story: dict[str, Any] = portal.check(run)
    assert portal.health() == 200
    assert {each["state"] for each in story["steps"]} == {"done"}
    portal.ask("complete", rollback=rollback)
    return story
