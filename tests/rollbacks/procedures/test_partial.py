"""One component goes back, in a commit of its own; everything beside it stays as it was found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import safety, switch
from rollbacks.procedures.base import CannotPlan, Plan, Request, StepFailed
from rollbacks.procedures.partial import PROCEDURE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import PROCESS
from rollbacks.tools import git as tool
from rollbacks.tools import manifest
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import PlannedBy, Words, before_switch, begin_switch, carry, undo
from tests.rollbacks.procedures.serving import Served, picture

PATHS = ("agents/planner", "shared [v1].py")  # a name like a pattern
WORDS = "Restore planner agent from backup"


def write(root: Path, **contents: str | None) -> None:
    for name, content in contents.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if content is None else path.write_text(content)


@pytest.fixture
def parts(agents: Manifest, checkout: Path) -> Manifest:
    """good: the planner as it should be. Since then a file of it was changed, one deleted, one added."""
    write(
        checkout, agents__planner__plan_py="PLAN = 1\n", agents__planner__old_py="OLD = 1\n", agents__other_py="A = 1\n"
    )
    (checkout / PATHS[1]).write_text("SHARED = 1\n")
    commit(checkout, "Good planner")
    git(checkout, "tag", "good")
    write(checkout, agents__planner__plan_py="PLAN = 2\n", agents__planner__old_py=None, agents__other_py="A = 2\n")
    write(checkout, agents__planner__deep__new_py="NEW = 2\n")
    (checkout / PATHS[1]).write_text("SHARED = 2\n")
    commit(checkout, "Bad planner")
    return replace(agents, components={"planner": PATHS, "none": ("nowhere",)})


def dirty(checkout: Path) -> None:
    """What people leave on hosts: staged, edited since, untracked; also in the component."""
    write(checkout, app_py="staged\n", agents__planner__plan_py="PLAN = 'edited on the host'\n")
    git(checkout, "add", "app.py")
    write(checkout, app_py="staged, and edited since\n", note_py="left\n", agents__planner__left_py="left\n")


def wish(target: str = "good", component: str = "planner") -> Request:
    return Request(target, component=component)


def plan(of: Manifest, target: str = "good", component: str = "planner") -> Plan:
    return PROCEDURE.plan(of, wish(target, component))


def refused(of: Manifest, target: str = "good", component: str = "planner") -> str:
    with pytest.raises(CannotPlan) as refusal:
        plan(of, target, component)
    return str(refusal.value)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_it_shows_the_files_of_the_component_only(parts: Manifest, checkout: Path) -> None:
    shown = plan(parts).shown
    assert {each["path"]: each["kind"] for each in shown["files"]} == {
        "agents/planner/plan.py": "modified",
        "agents/planner/old.py": "added",
        "agents/planner/deep/new.py": "deleted",
        PATHS[1]: "modified",
    }
    assert (shown["component"], shown["message"]) == ("planner", WORDS)
    assert (shown["target"]["tags"], shown["branch"]) == (["good"], "main")


def test_it_moves_the_component_and_nothing_else(parts: Manifest, checkout: Path) -> None:
    goal = plan(parts).essence["goal"]
    assert (goal["source"], goal["paths"]) == (git(checkout, "rev-parse", "good"), list(PATHS))
    assert not any(goal[name] for name in ("commit", "lock", "config", "secrets", "artifacts", "logs"))


def test_a_component_that_is_not_there_is_refused_with_those_that_are(parts: Manifest) -> None:
    assert refused(parts, component="plan") == "agents has no component 'plan'. It has planner, none."
    without = refused(replace(parts, components={}), component="plan")
    assert without.endswith("It has none: add “components” to its manifest.")


def test_a_target_without_the_component_is_refused(parts: Manifest) -> None:
    assert refused(parts, "v1") == f"v1 holds none of {', '.join(PATHS)}. Choose another target."


def test_a_component_that_is_as_in_the_target_is_nothing_to_do(parts: Manifest, checkout: Path) -> None:
    write(checkout, agents__planner__left_py="git does not track it, so it stays\n")
    assert refused(parts, "main") == "planner is as in main already: there is nothing to do."


def test_to_take_an_edit_back_is_something_to_do(parts: Manifest, checkout: Path) -> None:
    write(checkout, agents__planner__plan_py="edited\n")
    assert plan(parts, "main").shown["files"] == []


# --- there, and back ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_the_component_is_committed_with_the_guides_words(
    planned_by: PlannedBy, parts: Manifest, checkout: Path
) -> None:
    found = git(checkout, "rev-parse", "HEAD")
    dirty(checkout)
    carry(planned_by(PROCEDURE, parts, wish()), *PROCEDURE.steps)
    assert git(checkout, "log", "-1", "--format=%s|%an|%P") == f"{WORDS}|Rollback portal|{found}"
    assert git(checkout, "show", "-z", "--format=", "--name-status", "--no-renames", "HEAD").split("\0")[:-1] == [
        *("D", "agents/planner/deep/new.py", "A", "agents/planner/old.py", "M", "agents/planner/plan.py"),
        *("M", PATHS[1]),
    ]
    assert git(checkout, "branch", "--show-current") == "main"
    assert git(checkout, "diff", "--name-only", "good", "--", "agents/planner") == ""
    assert not (checkout / "agents/planner/deep").exists()


@pytest.mark.usefixtures("here")
def test_other_edits_stay_staged_or_not(planned_by: PlannedBy, parts: Manifest, checkout: Path) -> None:
    dirty(checkout)
    carry(planned_by(PROCEDURE, parts, wish()), *PROCEDURE.steps)
    assert git(checkout, "status", "--porcelain").splitlines() == [
        "MM app.py",
        "?? agents/planner/left.py",
        "?? note.py",
    ]
    assert (checkout / "app.py").read_text() == "staged, and edited since\n"
    assert (checkout / "agents/other.py").read_text() == "A = 2\n"


def detached(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")


def a_directory_where_a_file_was(checkout: Path) -> None:
    git(checkout, "rm", "-q", PATHS[1])
    (checkout / PATHS[1]).mkdir()
    (checkout / PATHS[1] / "__init__.py").write_text("SHARED = 3\n")
    commit(checkout, "A package now")


def only_an_edit(checkout: Path) -> None:
    git(checkout, "tag", "--force", "good")
    write(checkout, agents__planner__plan_py="edited\n")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("found", [dirty, detached, a_directory_where_a_file_was, only_an_edit])
def test_an_undo_puts_back_what_was_found(
    planned_by: PlannedBy, parts: Manifest, checkout: Path, found: Callable[[Path], None]
) -> None:
    found(checkout)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *PROCEDURE.steps)
    assert picture(checkout) != before
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before
    undo(mine, SWITCH)
    assert picture(checkout) == before


def test_its_own_test_is_run_before_anything_is_switched(
    planned_by: PlannedBy, parts: Manifest, checkout: Path, said: Words
) -> None:
    commands = {"component_test": "echo {component} is tried; cat agents/planner/*.py; exit 4", "test": "echo all"}
    before = picture(checkout)
    mine = planned_by(PROCEDURE, replace(parts, commands=commands), wish())
    with pytest.raises(StepFailed, match="ended with code 4"):
        carry(mine, *PROCEDURE.steps)
    assert "planner is tried\nOLD = 1\nPLAN = 1\n" in str(said)
    assert "\nall\n" not in str(said), "the component's own test, and not the whole suite"
    undo(mine, *before_switch(PROCEDURE))
    assert picture(checkout) == before


# --- cut short, and moved by others ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("done", ["nothing", "the paths", "HEAD"])
def test_a_switch_that_was_killed_is_carried_to_its_end_or_undone(
    planned_by: PlannedBy, parts: Manifest, checkout: Path, done: str
) -> None:
    dirty(checkout)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *before_switch(PROCEDURE))
    half = begin_switch(mine)
    if done == "the paths":
        tool.put_paths(checkout, half.goal["source"], half.goal["paths"])
    if done == "HEAD":
        tool.advance(checkout, half.goal["found_commit"], half.goal["commit"])
    carry(mine, SWITCH, PROCESS)
    assert git(checkout, "diff", "--name-only", "good", "--", "agents/planner") == ""
    assert git(checkout, "log", "-1", "--format=%s") == WORDS
    undo(mine, *before_switch(PROCEDURE), SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_a_half_way_switch_can_be_undone_as_it_is(planned_by: PlannedBy, parts: Manifest, checkout: Path) -> None:
    dirty(checkout)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *before_switch(PROCEDURE))
    half = begin_switch(mine)
    tool.put_paths(checkout, half.goal["source"], half.goal["paths"][:1])
    undo(mine, *before_switch(PROCEDURE), SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_a_file_that_a_power_cut_has_emptied_is_noticed(planned_by: PlannedBy, parts: Manifest, checkout: Path) -> None:
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *before_switch(PROCEDURE), SWITCH)
    (checkout / "agents/planner/plan.py").write_text("")
    with pytest.raises(StepFailed, match="are not those of"):
        PROCESS.verify(mine)


@pytest.mark.usefixtures("here")
def test_a_branch_that_was_moved_before_the_switch_is_left_with_all_of_its_files(
    planned_by: PlannedBy, parts: Manifest, checkout: Path
) -> None:
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *before_switch(PROCEDURE))
    theirs = commit(checkout, "Deployed meanwhile", app_py="VERSION = 9\n")
    before = picture(checkout)
    with pytest.raises(StepFailed, match=r"where it was found: somebody has moved it\. Its code was left as it is"):
        carry(mine, SWITCH)
    assert picture(checkout) == before
    with pytest.raises(StepFailed, match="The branch main no longer names"):
        undo(mine, SWITCH)
    assert (picture(checkout), git(checkout, "rev-parse", "main")) == (before, theirs)


@pytest.mark.usefixtures("here")
def test_for_a_branch_that_was_moved_the_service_is_not_even_stopped(
    planned_by: PlannedBy, parts: Manifest, served: Served, checkout: Path
) -> None:
    pid = served.start()
    mine = planned_by(PROCEDURE, replace(parts, service=manifest.parse(served.manifest()).service), wish())
    carry(mine, *before_switch(PROCEDURE))
    commit(checkout, "Deployed meanwhile", note_py="deployed\n")
    with pytest.raises(StepFailed, match="somebody has moved it"):
        carry(mine, SWITCH)
    assert served.pid == pid


@pytest.mark.usefixtures("here")
def test_a_branch_that_was_moved_after_the_switch_is_not_moved_back(
    planned_by: PlannedBy, parts: Manifest, checkout: Path
) -> None:
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *before_switch(PROCEDURE), SWITCH)
    commit(checkout, "On top of it", app_py="VERSION = 9\n")
    before = picture(checkout)
    with pytest.raises(StepFailed, match="The branch main no longer names"):
        undo(mine, SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_what_is_shown_to_be_typed_by_hand_brings_it_back(
    planned_by: PlannedBy, parts: Manifest, checkout: Path
) -> None:
    write(checkout, agents__planner__plan_py="PLAN = 'edited on the host'\n")
    mine = planned_by(PROCEDURE, parts, wish())
    carry(mine, *before_switch(PROCEDURE), SWITCH)
    found = mine.facts["safety"]["commit"]
    lines = SWITCH.by_hand(mine)
    assert switch.journal_path(mine, "there").exists()
    assert safety.as_found(mine).is_dir()
    by_hand(lines)
    assert git(checkout, "rev-parse", "main") == git(checkout, "rev-parse", "HEAD") == found
    assert (checkout / "agents/planner/plan.py").read_text() == "PLAN = 'edited on the host'\n"
    assert git(checkout, "branch", "--show-current") == "main"


def by_hand(lines: list[str]) -> None:
    for line in lines:
        subprocess.run(["/bin/sh", "-c", line], check=True, cwd="/", capture_output=True)
