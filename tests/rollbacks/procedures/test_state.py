"""Artifacts go back to a restore point; what was there, and suspect logs, are set aside and never deleted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollbacks.procedures import safety, stage
from rollbacks.procedures.base import CannotPlan, Context, Plan, Point, Request, StepFailed
from rollbacks.procedures.state import PROCEDURE
from rollbacks.procedures.switch import SWITCH
from rollbacks.tools import files
from rollbacks.tools.manifest import Manifest
from tests.conftest import git
from tests.rollbacks.procedures.conftest import PlannedBy, back_up, before_switch, begin_switch, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
TAG = "backup-20260301-110000"


@pytest.fixture
def point(context: Make, agents: Manifest) -> Point:
    """It holds one artifact: history.txt, “one”."""
    return back_up(context, agents, TAG)


@pytest.fixture
def spoiled(point: Point, checkout: Path) -> dict[str, object]:
    """What went wrong since: artifacts changed, one new, errors in the logs; and people edited the code."""
    (checkout / "artifacts/history.txt").write_text("spoiled\n")
    (checkout / "artifacts/sub").mkdir()
    (checkout / "artifacts/sub/new.txt").write_text("made since\n")
    (checkout / "logs/a.log").write_text("ERROR one\n")
    (checkout / "app.py").write_text("VERSION = 3\n")
    return whole(checkout)


def whole(checkout: Path) -> dict[str, object]:
    logs = {path.name: path.read_text() for path in (checkout / "logs").iterdir()}
    return {**picture(checkout), "logs": logs}


def plan(of: Manifest, point: Point | None, **words: Any) -> Plan:
    return PROCEDURE.plan(of, Request(point.tag if point else "v1", point, **words))


def refused(of: Manifest, point: Point | None, **words: Any) -> str:
    with pytest.raises(CannotPlan) as refusal:
        plan(of, point, **words)
    return str(refusal.value)


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("spoiled")
def test_it_shows_what_is_there_now(agents: Manifest, point: Point) -> None:
    shown = plan(agents, point, set_logs_aside=True).shown
    assert [(each["name"], each["now"]) for each in shown["artifacts"]] == [("artifacts", len("spoiled\nmade since\n"))]
    assert (shown["logs_aside"], shown["reset"]) == (["logs"], "")
    assert shown["target"]["tags"] == [TAG]


@pytest.mark.usefixtures("spoiled")
def test_it_moves_artifacts_and_nothing_else(agents: Manifest, point: Point) -> None:
    goal = plan(agents, point).essence["goal"]
    assert (goal["artifacts"], goal["point"]) == (["artifacts"], vars(point))
    assert not any(goal[name] for name in ("commit", "paths", "lock", "config", "secrets", "logs", "reset"))


def test_setting_logs_aside_and_resetting_metrics_is_another_plan(agents: Manifest, point: Point) -> None:
    able = replace(agents, commands={"reset_metrics": "true"})
    wishes: list[dict[str, Any]] = [{}, {"set_logs_aside": True}, {"reset_metrics": True}]
    assert len({plan(able, point, **each).digest for each in wishes}) == 3


def test_only_a_restore_point_holds_artifacts(agents: Manifest) -> None:
    assert refused(agents, None) == "v1 is no restore point, and only a restore point holds artifacts."


def test_a_point_without_artifacts_is_refused(context: Make, agents: Manifest, checkout: Path) -> None:
    shutil.rmtree(checkout / "artifacts")
    bare = back_up(context, agents, TAG)
    assert refused(agents, bare) == f"Restore point {TAG} holds no artifacts. Choose another one."


def test_metrics_that_nobody_can_reset_are_refused(agents: Manifest, point: Point) -> None:
    assert refused(agents, point, reset_metrics=True).endswith("names no command “reset_metrics”.")


# --- there, and back ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_artifacts_are_replaced_and_what_was_there_is_set_aside_and_comes_back(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, spoiled: dict[str, object]
) -> None:
    mine = planned_by(PROCEDURE, agents, Request(TAG, point, set_logs_aside=True))
    carry(mine, *PROCEDURE.steps)
    assert [path.name for path in (checkout / "artifacts").iterdir()] == ["history.txt"]
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert (checkout / "app.py").read_text() == "VERSION = 3\n"
    assert list((checkout / "logs").iterdir()) == []
    aside = safety.as_found(mine)
    assert (aside / "artifacts/artifacts/sub/new.txt").read_text() == "made since\n"
    assert (aside / "logs/logs/a.log").read_text() == "ERROR one\n"
    assert f"Logs of {checkout}, set aside by rollback run 1" in (aside / "logs/NOTE.txt").read_text()
    undo(mine, *PROCEDURE.steps)
    assert whole(checkout) == spoiled
    assert (aside / "undone/artifacts/history.txt").read_text() == "one\n", "nothing is deleted on the way back either"
    undo(mine, SWITCH)
    assert whole(checkout) == spoiled


@pytest.mark.usefixtures("here")
def test_what_the_restored_system_wrote_is_kept_when_it_is_undone(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, spoiled: dict[str, object]
) -> None:
    mine = planned_by(PROCEDURE, agents, Request(TAG, point, set_logs_aside=True))
    carry(mine, *PROCEDURE.steps)
    (checkout / "artifacts/history.txt").write_text("one\ntwo\n")
    (checkout / "logs/a.log").write_text("began again\n")
    undo(mine, *PROCEDURE.steps)
    assert whole(checkout) == spoiled
    undone = safety.as_found(mine) / "undone"
    assert (undone / "artifacts/history.txt").read_text() == "one\ntwo\n"
    assert (undone / "logs/a.log").read_text() == "began again\n"


def gone(checkout: Path) -> None:
    shutil.rmtree(checkout / "artifacts")


def a_link(checkout: Path) -> None:
    (checkout / "artifacts").rename(checkout.parent / "volume")
    (checkout / "artifacts").symlink_to("../volume")


def a_file(checkout: Path) -> None:
    shutil.rmtree(checkout / "artifacts")
    (checkout / "artifacts").write_text("not even a directory\n")


@pytest.mark.usefixtures("here", "spoiled")
@pytest.mark.parametrize("found", [gone, a_link, a_file])
def test_whatever_stands_in_its_place_comes_back(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, found: Callable[[Path], None]
) -> None:
    found(checkout)
    before = whole(checkout)
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    carry(mine, *PROCEDURE.steps)
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    undo(mine, *PROCEDURE.steps)
    assert whole(checkout) == before
    if found is a_link:
        assert (checkout.parent / "volume/history.txt").read_text() == "spoiled\n"


@pytest.mark.usefixtures("here")
def test_a_link_to_artifacts_is_backed_up_as_what_it_leads_to(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path
) -> None:
    a_link(checkout)
    point = back_up(context, agents, TAG)
    (checkout.parent / "volume/history.txt").write_text("spoiled\n")
    carry(planned_by(PROCEDURE, agents, Request(TAG, point)), *PROCEDURE.steps)
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert (checkout.parent / "volume/history.txt").read_text() == "spoiled\n", "set aside where it lies"


@pytest.mark.usefixtures("here", "spoiled")
@pytest.mark.parametrize("found", [lambda checkout: None, a_link])
def test_what_is_shown_to_be_typed_by_hand_brings_it_back(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, found: Callable[[Path], None]
) -> None:
    found(checkout)
    before = whole(checkout)
    mine = planned_by(PROCEDURE, agents, Request(TAG, point, set_logs_aside=True))
    carry(mine, *PROCEDURE.steps)
    for line in SWITCH.by_hand(mine):
        subprocess.run(["/bin/sh", "-c", line], check=True, cwd="/", capture_output=True)
    (checkout / "artifacts.undone").rename(checkout.parent / "undone")
    assert whole(checkout) == before


# --- the metrics ----------------------------------------------------------------------------------------------------


def resetting(of: Manifest, words: str) -> Manifest:
    return replace(of, commands={"reset_metrics": words})


@pytest.mark.usefixtures("here", "spoiled")
def test_metrics_are_reset_with_the_live_environment_when_the_state_is_in_place(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path
) -> None:
    words = 'echo "$PWD $VIRTUAL_ENV $(cat artifacts/history.txt)" >> ../reset'
    able = resetting(agents, words)
    shown = plan(able, point, reset_metrics=True).shown
    assert shown["reset"] == words
    carry(planned_by(PROCEDURE, able, Request(TAG, point)), *PROCEDURE.steps)
    assert not (checkout.parent / "reset").exists(), "not unless it was asked for"
    mine = planned_by(PROCEDURE, able, Request(TAG, point, reset_metrics=True), safety_tag="failed-20260301-130000")
    carry(mine, *PROCEDURE.steps)
    assert (checkout.parent / "reset").read_text() == f"{checkout} {checkout}/.venv one\n"


@pytest.mark.usefixtures("here")
def test_metrics_that_cannot_be_reset_are_the_end_of_it_and_all_is_put_back(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, spoiled: dict[str, object]
) -> None:
    failing = resetting(agents, "echo no such database; exit 5")
    mine = planned_by(PROCEDURE, failing, Request(TAG, point, reset_metrics=True, set_logs_aside=True))
    carry(mine, *before_switch(PROCEDURE))
    with pytest.raises(StepFailed, match="ended with code 5: no such database"):
        carry(mine, SWITCH)
    undo(mine, *before_switch(PROCEDURE), SWITCH)
    assert whole(checkout) == spoiled


# --- cut short ------------------------------------------------------------------------------------------------------


def nothing_yet(half: Path, live: Path) -> None:
    pass


def set_aside(half: Path, live: Path) -> None:
    files.move(live, half)


def made_again(half: Path, live: Path) -> None:
    """Set aside, and then the service was started by its manager, and made an empty directory."""
    files.move(live, half)
    live.mkdir()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("reached", [nothing_yet, set_aside, made_again])
@pytest.mark.parametrize("then", ["carried to its end", "undone at once"])
def test_a_switch_that_was_killed(
    planned_by: PlannedBy,
    agents: Manifest,
    point: Point,
    checkout: Path,
    spoiled: dict[str, object],
    reached: Callable[[Path, Path], None],
    then: str,
) -> None:
    mine = planned_by(PROCEDURE, agents, Request(TAG, point, set_logs_aside=True))
    carry(mine, *before_switch(PROCEDURE))
    begin_switch(mine)
    reached(safety.as_found(mine) / "artifacts/artifacts", checkout / "artifacts")
    if then == "carried to its end":
        carry(mine, SWITCH)
        assert (checkout / "artifacts/history.txt").read_text() == "one\n"
        assert list((checkout / "logs").iterdir()) == []
    undo(mine, *before_switch(PROCEDURE), SWITCH)
    assert whole(checkout) == spoiled


@pytest.mark.usefixtures("here")
def test_one_that_has_half_of_the_logs_aside_goes_on(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, spoiled: dict[str, object]
) -> None:
    (checkout / "logs/b.log").write_text("ERROR two\n")
    before = whole(checkout)
    mine = planned_by(PROCEDURE, agents, Request(TAG, point, set_logs_aside=True))
    carry(mine, *before_switch(PROCEDURE))
    begin_switch(mine)
    files.move(checkout / "logs/a.log", safety.as_found(mine) / "logs/logs/a.log")
    carry(mine, SWITCH)
    assert list((checkout / "logs").iterdir()) == []
    undo(mine, SWITCH)
    assert whole(checkout) == before


@pytest.mark.usefixtures("here", "spoiled")
def test_artifacts_that_are_nowhere_are_said_and_not_taken_for_done(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path
) -> None:
    gone(checkout)
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    carry(mine, *before_switch(PROCEDURE))
    shutil.rmtree(stage.staged_artifacts(mine))
    with pytest.raises(StepFailed, match=r"artifacts cannot be put in place: .*, where it was staged, is gone"):
        carry(mine, SWITCH)


@pytest.mark.usefixtures("here", "spoiled")
def test_a_point_that_is_torn_is_noticed_before_anything_is_touched(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path
) -> None:
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    archive = agents.backups / TAG / "artifacts.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-20])
    assert "has changed since the restore point was made" in refused(agents, point)
    before = whole(checkout)
    with pytest.raises(Exception, match="Nothing was unpacked from it"):
        carry(mine, *PROCEDURE.steps)
    assert (whole(checkout), git(checkout, "branch", "--show-current")) == (before, "main")
