"""Artifacts go back to a restore point; what was there, and suspect logs, are set aside and never deleted."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollbacks.procedures import backup, safety, stage, switch
from rollbacks.procedures.base import CannotPlan, Context, Plan, Point, Request, StepFailed
from rollbacks.procedures.state import PROCEDURE
from rollbacks.procedures.switch import SWITCH
from rollbacks.tools import ToolError, files
from rollbacks.tools.manifest import Manifest
from tests.conftest import git
from tests.rollbacks.procedures.conftest import (
    PlannedBy,
    as_archive,
    back_up,
    before_switch,
    begin_switch,
    carry,
    sealed_again,
    undo,
)
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
    assert shown["artifacts"] == [
        {"name": "artifacts", "now": len("spoiled\nmade since\n"), "then": len("one\n"), "beside": ""}
    ]
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


# --- restore points that are not what they were ---------------------------------------------------------------------


Spoil = Callable[[Manifest], Point]


def the_object(of: Manifest) -> Path:
    (found,) = (of.backups / TAG / "artifacts/objects").iterdir()
    found.chmod(0o600)
    return found


def missing_object(of: Manifest) -> Point:
    the_object(of).unlink()
    return sealed_again(of, TAG)


def short_object(of: Manifest) -> Point:
    the_object(of).write_bytes(the_object(of).read_bytes()[:-3])
    return sealed_again(of, TAG)


def torn_listing(of: Manifest) -> Point:
    listed = of.backups / TAG / "artifacts/listing.jsonl"
    listed.chmod(0o600)
    listed.write_bytes(listed.read_bytes()[:-5])
    return sealed_again(of, TAG)


def torn_archive(of: Manifest) -> Point:
    return as_archive(of, TAG, lambda archive: archive.write_bytes(archive.read_bytes()[:-20]))


def listed(of: Manifest, **words: str) -> Point:
    """One more line in the listing, of something that leads out."""
    path = of.backups / TAG / "artifacts/listing.jsonl"
    path.chmod(0o600)
    first, *lines, _ = path.read_text().splitlines()
    line = {"type": "link", "mode": "0644", "user": "root", "group": "root", "mtime": 1, **words}
    lines.append(json.dumps(line))
    path.write_text("\n".join([first, *lines, json.dumps({"end": len(lines)})]) + "\n")
    return sealed_again(of, TAG)


def packed(of: Manifest, name: str, to: str = "") -> Point:
    """An archive with one more member, that leads out."""
    point = as_archive(of, TAG)
    member = tarfile.TarInfo(name)
    member.type, member.linkname = (tarfile.SYMTYPE, to) if to else (tarfile.REGTYPE, "")
    with tarfile.open(of.backups / TAG / "artifacts.tar.gz", "w:gz") as archive:
        archive.addfile(member)
    return sealed_again(of, point.tag)


BROKEN: dict[str, tuple[Spoil, str]] = {
    "an object is missing": (missing_object, "is missing"),
    "an object was left short": (short_object, "is not what was written"),
    "the listing was left short": (torn_listing, "cannot be read"),
    "the archive was left short": (torn_archive, "cannot be read to its end"),
    "a path in the listing leads out": (lambda of: listed(of, path="artifacts/../../evil", target="x"), "no safe path"),
    "a link in the listing leads out": (lambda of: listed(of, path="artifacts/out", target="/etc"), "which leads out"),
    "a path in the archive leads out": (lambda of: packed(of, "artifacts/../../evil"), "leads out"),
    "a link in the archive leads out": (lambda of: packed(of, "artifacts/out", "/etc"), "leads out"),
}


@pytest.mark.usefixtures("here", "spoiled", "point")
@pytest.mark.parametrize("how", BROKEN)
def test_one_that_is_broken_is_refused_in_words(agents: Manifest, checkout: Path, how: str) -> None:
    before = whole(checkout)
    spoil, words = BROKEN[how]
    said = refused(agents, spoil(agents))
    assert words in said
    assert "hoose another" in said
    assert whole(checkout) == before


def changed_object(of: Manifest) -> None:
    the_object(of).write_bytes(the_object(of).read_bytes().replace(b"one", b"two"))


@pytest.mark.usefixtures("here", "spoiled")
@pytest.mark.parametrize(
    "spoil", [changed_object, missing_object, torn_listing, torn_archive, lambda of: packed(of, "artifacts/../../evil")]
)
def test_one_that_goes_bad_after_the_plan_is_noticed_before_the_service_is_stopped(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, spoil: Callable[[Manifest], object]
) -> None:
    """A byte that has changed is not looked for when it is planned, which has to be quick, but when it is unpacked."""
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    spoil(agents)
    before = whole(checkout)
    with pytest.raises(ToolError, match="Nothing was unpacked"):
        carry(mine, *PROCEDURE.steps)
    assert "switch" not in mine.facts
    undo(mine, *before_switch(PROCEDURE))
    assert (whole(checkout), git(checkout, "branch", "--show-current")) == (before, "main")
    assert not (checkout / ".rollback/stage/1").exists()


@pytest.mark.usefixtures("here")
def test_an_archive_is_restored_too(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, spoiled: dict[str, object]
) -> None:
    """Older restore points, and those that were made by hand, have one."""
    older = as_archive(agents, TAG)
    assert backup.check(agents, older) == []
    mine = planned_by(PROCEDURE, agents, Request(TAG, older))
    assert mine.goal["artifacts"] == ["artifacts"]
    carry(mine, *PROCEDURE.steps)
    assert [path.name for path in (checkout / "artifacts").iterdir()] == ["history.txt"]
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    undo(mine, *PROCEDURE.steps)
    assert whole(checkout) == spoiled


# --- what an undo proves --------------------------------------------------------------------------------------------


def copied(live: Path) -> None:
    """The same names, the same bytes, and not what was found."""
    moved = live.rename(live.parent.parent / "moved")
    shutil.copytree(moved, live)


def pointed_elsewhere(live: Path) -> None:
    live.symlink_to(live.rename(live.parent.parent / "moved"))


@pytest.mark.usefixtures("here", "spoiled")
@pytest.mark.parametrize("forget", [copied, pointed_elsewhere, shutil.rmtree])
def test_an_undo_that_forgot_the_artifacts_is_noticed(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path, forget: Callable[[Path], None]
) -> None:
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    carry(mine, *PROCEDURE.steps)
    undo(mine, *PROCEDURE.steps)
    switch.verify_as_found(mine)
    forget(checkout / "artifacts")
    with pytest.raises(StepFailed, match="artifacts is not what was found"):
        switch.verify_as_found(mine)


@pytest.mark.usefixtures("here", "spoiled")
def test_an_undo_that_forgot_the_logs_is_noticed_and_a_rotated_one_is_no_lost_one(
    planned_by: PlannedBy, agents: Manifest, point: Point, checkout: Path
) -> None:
    mine = planned_by(PROCEDURE, agents, Request(TAG, point, set_logs_aside=True))
    carry(mine, *PROCEDURE.steps)
    undo(mine, *PROCEDURE.steps)
    (checkout / "logs/a.log").rename(checkout / "logs/a.log.1")
    (checkout / "logs/a.log").write_text("a new one\n")
    switch.verify_as_found(mine)
    (checkout / "logs/a.log.1").rename(checkout.parent / "a.log.1")
    with pytest.raises(StepFailed, match=r"logs/a\.log did not come back"):
        switch.verify_as_found(mine)
