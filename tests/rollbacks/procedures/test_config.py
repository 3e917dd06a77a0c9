"""Configuration, and nothing but configuration, goes back; what could not be read is refused before anything moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollbacks.procedures import safety, switch
from rollbacks.procedures.base import CannotPlan, Context, Plan, Request, StepFailed
from rollbacks.procedures.config import PROCEDURE
from rollbacks.procedures.switch import SWITCH
from rollbacks.tools import files
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import PlannedBy, Words, back_up, before_switch, begin_switch, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
TAG = "backup-20260301-110000"
FILE = "config/agents.json"
BROKEN = json.dumps({"model": "big", "agents": [{"password": "hunter22"}]})


@pytest.fixture
def edited(agents: Manifest, checkout: Path) -> Manifest:
    """Somebody has edited the configuration on the host, and other things too."""
    (checkout / FILE).write_text(BROKEN)
    (checkout / "app.py").write_text("VERSION = 3\n")
    (checkout / "note.txt").write_text("left by somebody\n")
    return agents


@pytest.fixture
def hidden(agents: Manifest, checkout: Path) -> Manifest:
    """A second configuration file, which git ignores, with a key in it."""
    (checkout / ".git/info/exclude").write_text("local.json\n")
    (checkout / "local.json").write_text('{"then": true}')
    (checkout / "local.json").chmod(0o600)
    return replace(agents, config=(FILE, "local.json"))


def plan(of: Manifest, target: str = "v1", **words: Any) -> Plan:
    return PROCEDURE.plan(of, Request(target, **words))


def refused(of: Manifest, target: str = "v1", **words: Any) -> str:
    with pytest.raises(CannotPlan) as refusal:
        plan(of, target, **words)
    return str(refusal.value)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_it_shows_each_key_and_no_secret(edited: Manifest, checkout: Path) -> None:
    shown = plan(edited).shown
    assert {each["key"]: (each["from"], each["to"]) for each in shown["configuration"]} == {
        "model": ('"big"', '"small"'),
        "agents.0.password": ("•••", ""),
        "api_key": ("", "•••"),
    }
    assert shown["target"]["sha"] == git(checkout, "rev-parse", "v1")
    assert [each["path"] for each in shown["uncommitted"]] == ["app.py", FILE, "note.txt"]
    assert [step["name"] for step in shown["steps"] if step["outage"]] == ["switch"]
    assert "left_behind" not in shown, "no commit moves"


def test_it_moves_configuration_and_nothing_else(edited: Manifest, checkout: Path) -> None:
    goal = plan(edited).essence["goal"]
    wanted = files.digest(git(checkout, "show", f"v1:{FILE}"))
    assert (goal["config"], goal["wanted"]) == ({FILE: "commit"}, {FILE: wanted})
    assert not any(goal[name] for name in ("commit", "paths", "lock", "secrets", "artifacts", "logs", "reset"))


def test_the_plan_changes_nothing(edited: Manifest, checkout: Path) -> None:
    before = picture(checkout)
    plan(edited)
    assert picture(checkout) == before


def test_what_the_target_has_not_is_said_to_stay(hidden: Manifest, checkout: Path) -> None:
    (checkout / FILE).write_text(BROKEN)
    found = plan(hidden)
    assert found.shown["kept_configuration"] == ["local.json"]
    assert found.essence["goal"]["config"] == {FILE: "commit"}


def test_configuration_that_is_as_in_the_target_is_nothing_to_do(agents: Manifest) -> None:
    assert refused(agents) == "The configuration of agents is that of v1 already: nothing to do."


def test_a_system_without_configuration_is_told_where_to_name_it(agents: Manifest) -> None:
    assert refused(replace(agents, config=())).endswith("names no configuration files. Add them to its “config”.")


def test_a_target_without_the_files_is_refused(agents: Manifest) -> None:
    assert refused(replace(agents, config=("else.json",))) == "v1 holds none of else.json. Choose another target."


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("a.json", "{}", "{'model': 1}"),
        ("a.toml", "a = 1\n", "a = \n"),
        ("a.yaml", "a: 1\n", "a: [1\n"),
        ("a.yml", "a: 1\n", "a: b: c\n"),
        ("a.ini", "[a]\nb = 1\n", "b = 1\n"),
    ],
)
def test_a_target_that_could_not_be_read_is_refused(
    agents: Manifest, checkout: Path, name: str, good: str, bad: str
) -> None:
    (checkout / name).write_text(bad)
    commit(checkout, "Broken")
    git(checkout, "tag", "broken")
    (checkout / name).write_text(good)
    commit(checkout, "Whole")
    assert refused(replace(agents, config=(name,)), "broken").startswith(f"{name} would not be valid: ")


def test_a_broken_restore_point_is_refused(context: Make, edited: Manifest, checkout: Path) -> None:
    point = back_up(context, edited, TAG)
    (edited.backups / TAG / "config" / FILE).write_text("{}")
    assert refused(edited, TAG, point=point).endswith("since the restore point was made. Choose another one.")


# --- there, and back ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_only_configuration_is_put_in_place(planned_by: PlannedBy, edited: Manifest, checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    carry(planned_by(PROCEDURE, edited, Request("v1")), *PROCEDURE.steps)
    assert json.loads((checkout / FILE).read_text())["model"] == "small"
    assert (git(checkout, "rev-parse", "HEAD"), git(checkout, "branch", "--show-current")) == (head, "main")
    assert (checkout / "app.py").read_text() == "VERSION = 3\n", "somebody's edit stays"
    assert git(checkout, "status", "--porcelain") == "M app.py\n?? note.txt"
    assert not (checkout / ".rollback/stage/1").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("now", ["changed", "gone"])
def test_a_file_that_git_ignores_comes_from_the_point_with_its_mode_and_goes_back(
    planned_by: PlannedBy, context: Make, hidden: Manifest, checkout: Path, now: str
) -> None:
    point = back_up(context, hidden, TAG)
    local = checkout / "local.json"
    local.write_text('{"then": false}') if now == "changed" else local.unlink()
    before = picture(checkout)
    mine = planned_by(PROCEDURE, hidden, Request(TAG, point))
    carry(mine, *PROCEDURE.steps)
    assert (local.read_text(), local.stat().st_mode & 0o777) == ('{"then": true}', 0o600)
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before
    if now == "gone":
        assert (safety.as_found(mine) / "left/local.json").read_text() == '{"then": true}', "set aside, not deleted"


@pytest.mark.usefixtures("here")
def test_an_undo_puts_back_all_that_was_found(planned_by: PlannedBy, edited: Manifest, checkout: Path) -> None:
    git(checkout, "add", FILE)
    (checkout / FILE).write_text('{"model": "staged, and edited once more"}')
    (checkout / FILE).chmod(0o640)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, edited, Request("v1"))
    carry(mine, *PROCEDURE.steps)
    assert picture(checkout) != before
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_the_systems_own_word_is_asked_before_anything_is_switched(
    planned_by: PlannedBy, edited: Manifest, checkout: Path, said: Words
) -> None:
    asking = replace(edited, commands={"validate_config": f"cat {FILE} app.py; exit 3", "test": "echo tested"})
    before = picture(checkout)
    mine = planned_by(PROCEDURE, asking, Request("v1"))
    with pytest.raises(StepFailed, match="ended with code 3"):
        carry(mine, *PROCEDURE.steps)
    assert '"small"' in str(said), "it was asked of what would run"
    assert "VERSION = 3" in str(said), "with the code as it is on the host"
    assert "tested" not in str(said), "no test of the code: no code moves"
    assert not switch.journal_path(mine, "there").exists()
    undo(mine, *before_switch(PROCEDURE))
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_a_switch_that_was_killed_between_two_files_is_carried_to_its_end(
    planned_by: PlannedBy, context: Make, hidden: Manifest, checkout: Path
) -> None:
    point = back_up(context, hidden, TAG)
    (checkout / FILE).write_text(BROKEN)
    (checkout / "local.json").write_text('{"then": false}')
    mine = planned_by(PROCEDURE, hidden, Request(TAG, point))
    carry(mine, *before_switch(PROCEDURE))
    half = begin_switch(mine)
    files.copy(Path(half.goal["files"][FILE]), checkout / FILE)
    carry(mine, SWITCH)
    assert (checkout / "local.json").read_text() == '{"then": true}'
    assert "small" in (checkout / FILE).read_text()
