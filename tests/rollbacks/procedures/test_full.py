"""Everything of a restore point: where the system stands, into an empty directory, and where nothing is left of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import backup, safety
from rollbacks.procedures.base import CannotPlan, Context, Point, Request, StepFailed
from rollbacks.procedures.full import PROCEDURE, REPOSITORY
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.switch import SWITCH
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import PlannedBy, Words, back_up, before_switch, begin_switch, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
TAG = "backup-20260301-110000"
SECRET = "API_TOKEN=super-secret-token\n"


@pytest.fixture
def point(context: Make, agents: Manifest, checkout: Path) -> Point:
    (checkout / ".env").chmod(0o600)
    return back_up(context, agents, TAG)


@pytest.fixture
def worse(point: Point, agents: Manifest, checkout: Path) -> Manifest:
    """Since the point: a commit, edits, another secret, spoiled artifacts."""
    commit(checkout, "Worse", app_py="VERSION = 3\n", config__agents_json=json.dumps({"model": "big", "api_key": "k2"}))
    (checkout / "app.py").write_text("VERSION = 4\n")
    (checkout / "note.txt").write_text("left by somebody\n")
    (checkout / ".env").write_text("API_TOKEN=rotated-since\n")
    (checkout / "artifacts/history.txt").write_text("spoiled\n")
    return agents


def as_then(root: Path, point: Point) -> None:
    """All that the restore point holds is there."""
    assert git(root, "rev-parse", "HEAD") == point.commit
    assert git(root, "status", "--porcelain") == ""
    assert (root / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert json.loads((root / "config/agents.json").read_text())["model"] == "small"
    assert ((root / ".env").read_text(), (root / ".env").stat().st_mode & 0o777) == (SECRET, 0o600)
    assert (root / "artifacts/history.txt").read_text() == "one\n"


def refused(of: Manifest, request: Request) -> str:
    with pytest.raises(CannotPlan) as refusal:
        PROCEDURE.plan(of, request)
    return str(refusal.value)


# --- where the system stands ----------------------------------------------------------------------------------------


def test_it_shows_all_that_moves_and_names_secrets_only(worse: Manifest, point: Point) -> None:
    found = PROCEDURE.plan(worse, Request(TAG, point))
    shown = found.shown
    assert [each["subject"] for each in shown["left_behind"]] == ["Worse"]
    changes = {each["key"]: (each["from"], each["to"]) for each in shown["configuration"]}
    assert changes == {"model": ('"big"', '"small"'), "api_key": ("•••", "•••")}
    assert (shown["secrets"], [each["name"] for each in shown["artifacts"]]) == ([".env"], ["artifacts"])
    assert "rotated" not in json.dumps(found.as_json())
    assert "super-secret" not in json.dumps(found.as_json())
    goal = found.essence["goal"]
    assert (goal["commit"], goal["secrets"], goal["artifacts"]) == (point.commit, [".env"], ["artifacts"])
    assert (goal["config"], goal["anew"]) == ({"config/agents.json": "point"}, False)


def test_a_bare_commit_is_refused(worse: Manifest) -> None:
    said = refused(worse, Request("v1"))
    assert said.startswith("v1 is no restore point, and a full rollback needs one")
    assert said.endswith("For a bare commit ask for a code rollback.")


def test_a_broken_point_is_refused(worse: Manifest, point: Point) -> None:
    (worse.backups / TAG / "secrets/.env").write_text("API_TOKEN=forged\n")
    assert "has changed since the restore point was made. Choose another one." in refused(worse, Request(TAG, point))


@pytest.mark.usefixtures("here")
def test_everything_is_as_then_and_comes_back(
    planned_by: PlannedBy, worse: Manifest, point: Point, checkout: Path
) -> None:
    (checkout / "artifacts/history.txt").chmod(0o640)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, worse, Request(TAG, point))
    carry(mine, *PROCEDURE.steps)
    as_then(checkout, point)
    assert not (checkout / "note.txt").exists(), "in the safety point"
    assert (safety.as_found(mine) / "artifacts/artifacts/history.txt").read_text() == "spoiled\n"
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before
    undo(mine, SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_the_systems_own_tests_see_what_will_run(
    planned_by: PlannedBy, worse: Manifest, point: Point, checkout: Path, said: Words
) -> None:
    before = picture(checkout)
    trying = replace(worse, commands={"test": "cat app.py .env config/agents.json; exit 6"})
    mine = planned_by(PROCEDURE, trying, Request(TAG, point))
    with pytest.raises(StepFailed, match="ended with code 6"):
        carry(mine, *PROCEDURE.steps)
    assert "BROKEN = True" in str(said)
    assert SECRET in str(said)
    undo(mine, *before_switch(PROCEDURE))
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("then", ["carried to its end", "undone at once"])
def test_a_switch_that_was_killed(
    planned_by: PlannedBy, worse: Manifest, point: Point, checkout: Path, then: str
) -> None:
    """The code is there, secrets and artifacts are not yet."""
    before = picture(checkout)
    mine = planned_by(PROCEDURE, worse, Request(TAG, point))
    carry(mine, *before_switch(PROCEDURE))
    begin_switch(mine).put_code()
    if then == "carried to its end":
        carry(mine, SWITCH)
        as_then(checkout, point)
    undo(mine, *before_switch(PROCEDURE), SWITCH)
    assert picture(checkout) == before


# --- where nothing stands -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_into_an_empty_directory(
    planned_by: PlannedBy, worse: Manifest, point: Point, checkout: Path, tmp_path: Path
) -> None:
    before = picture(checkout)
    into = tmp_path / "else/where"
    mine = planned_by(PROCEDURE, worse.elsewhere(into), Request(TAG, point, elsewhere=True))
    assert mine.goal["anew"] is True
    carry(mine, *PROCEDURE.steps)
    as_then(into, point)
    assert git(into, "log", "--format=%s") == "Break it\nRelease 1", "with its history"
    assert picture(checkout) == before, "the system itself stays as it is"


def test_the_plan_says_where_nothing_stands(worse: Manifest, point: Point, tmp_path: Path) -> None:
    into = tmp_path / "new"
    shown = PROCEDURE.plan(worse.elsewhere(into), Request(TAG, point, elsewhere=True)).shown
    assert (shown["anew"], shown["secrets"], shown["target"]["tags"]) == (str(into), [".env"], [TAG])
    assert not into.exists(), "a plan changes nothing"


def test_a_directory_that_is_not_empty_is_refused(
    worse: Manifest, point: Point, checkout: Path, tmp_path: Path
) -> None:
    into = tmp_path / "taken"
    shutil.copytree(checkout, into)  # also when it is a checkout of the very system
    said = refused(worse.elsewhere(into), Request(TAG, point, elsewhere=True))
    assert said.startswith(f"{into} is not empty. Nothing was changed.")


def test_what_is_left_of_a_system_is_not_overwritten(worse: Manifest, point: Point, checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    said = refused(worse, Request(TAG, point))
    assert said.startswith(f"{checkout} is neither empty nor a git checkout. Nothing was changed. Move away what is")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("source", ["the backups", "the remote"])
def test_a_checkout_that_is_gone_comes_back(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path, tmp_path: Path, said: Words, source: str
) -> None:
    (checkout / ".env").chmod(0o600)
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(remote))
    git(checkout, "remote", "add", "origin", str(remote))
    pushing = replace(agents, push_tags=True)
    point = back_up(context, pushing, TAG)
    shutil.rmtree(checkout)
    if source == "the remote":
        shutil.rmtree(backup.mirror(pushing))
    mine = planned_by(PROCEDURE, pushing, Request(TAG, point))
    carry(mine, *PROCEDURE.steps)
    as_then(checkout, point)
    brought = backup.mirror(pushing) if source == "the backups" else remote
    assert f"history brought from {brought}" in str(said)
    assert git(checkout, "remote", "get-url", "origin") == str(remote)


def test_history_that_is_nowhere_is_refused_in_the_plan(agents: Manifest, point: Point, checkout: Path) -> None:
    shutil.rmtree(checkout)
    shutil.rmtree(backup.mirror(agents))
    assert f"the tag {TAG} is in no repository here" in refused(agents, Request(TAG, point))


@pytest.mark.usefixtures("here")
def test_a_remote_that_is_down_is_said_and_nothing_is_left_behind(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path, tmp_path: Path
) -> None:
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(remote))
    git(checkout, "remote", "add", "origin", str(remote))
    point = back_up(context, replace(agents, push_tags=True), TAG)
    shutil.rmtree(checkout)
    shutil.rmtree(backup.mirror(agents))
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    shutil.rmtree(remote)
    carry(mine, PREFLIGHT)
    with pytest.raises(
        StepFailed, match=rf"The history of {TAG} cannot be had from {remote}\. Nothing else was changed"
    ):
        carry(mine, REPOSITORY)
    undo(mine, PREFLIGHT, REPOSITORY)
    assert [path.name for path in checkout.iterdir()] == [".rollback"]
    assert backup.is_empty(checkout), "so that it can be asked for again"


@pytest.mark.usefixtures("here")
def test_a_copy_that_is_undone_takes_itself_away_and_nothing_that_came_since(
    planned_by: PlannedBy, worse: Manifest, point: Point, tmp_path: Path
) -> None:
    into = tmp_path / "new"
    mine = planned_by(PROCEDURE, worse.elsewhere(into), Request(TAG, point, elsewhere=True))
    carry(mine, *PROCEDURE.steps)
    (into / "logs").mkdir()
    (into / "logs/a.log").write_text("what the copy did\n")
    (into / "state.json").write_text("{}")
    (into / "artifacts/history.txt").write_text("one\ntwo\n")
    undo(mine, *PROCEDURE.steps)
    assert [path.name for path in into.iterdir()] == [".rollback"]
    kept = safety.as_found(mine)
    assert (kept / "left/logs/a.log").read_text() == "what the copy did\n"
    assert (kept / "left/state.json").read_text() == "{}"
    assert (kept / "undone/artifacts/history.txt").read_text() == "one\ntwo\n"


@pytest.mark.usefixtures("here")
def test_one_that_was_undone_can_be_begun_again(
    planned_by: PlannedBy, worse: Manifest, point: Point, tmp_path: Path
) -> None:
    """Held in its undo, a person may resume it: the same run, with the same safety tag."""
    into = tmp_path / "new"
    mine = planned_by(PROCEDURE, worse.elsewhere(into), Request(TAG, point, elsewhere=True))
    carry(mine, *PROCEDURE.steps)
    undo(mine, *PROCEDURE.steps)
    carry(mine, *PROCEDURE.steps)
    as_then(into, point)
