"""What every plan looks at, whatever its procedure."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import backup, planning
from rollbacks.procedures.base import CannotPlan, Context, Plan, Request
from rollbacks.procedures.known import PROCEDURES, ROLLBACKS
from rollbacks.tools import ToolError, git
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit
from tests.conftest import git as run
from tests.rollbacks.procedures.conftest import back_up

TAG = "backup-20260301-110000"


@pytest.mark.parametrize("error", [ToolError("git is away"), OSError(13, "Permission denied"), ValueError("no UTF-8")])
def test_what_the_outside_refuses_is_a_reason(agents: Manifest, error: Exception) -> None:
    @planning.guarded
    def plan(manifest: Manifest, request: Request) -> Plan:
        raise error

    with pytest.raises(CannotPlan, match=str(error.args[-1])):
        plan(agents, Request("v1"))


def test_a_fault_of_ours_is_not_taken_for_a_reason(agents: Manifest) -> None:
    @planning.guarded
    def plan(manifest: Manifest, request: Request) -> Plan:
        raise KeyError("goal")

    with pytest.raises(KeyError):
        plan(agents, Request("v1"))


@pytest.mark.parametrize("name", [name for name in ROLLBACKS if name != "full"])
def test_submodules_are_refused_by_all(context: Callable[..., Context], agents: Manifest, name: str) -> None:
    point = back_up(context, agents, TAG)
    head = run(agents.root, "rev-parse", "HEAD")
    run(agents.root, "update-index", "--add", "--cacheinfo", f"160000,{head},libs/engine")
    run(agents.root, "commit", "-qm", "A module")
    able = replace(agents, components={"app": ("app.py",)})
    with pytest.raises(CannotPlan, match=r"has submodules \(libs/engine\).*Nothing was changed"):
        PROCEDURES[name].plan(able, Request(TAG, point, component="app"))


@pytest.mark.parametrize("name", ROLLBACKS)
def test_all_say_which_step_is_the_outage_and_begin_with_what_can_be_known(name: str) -> None:
    steps = PROCEDURES[name].steps
    assert [step.name for step in steps if step.outage] == ["switch"]
    names = [step.name for step in steps]
    assert names[0] == "preflight"
    assert names.index("safety") < names.index("switch")
    assert names[names.index("switch") :] == ["switch", "process", "health", "record"]


def found(agents: Manifest) -> dict[str, object]:
    return planning.found(agents, git.head(agents.root))


def test_an_approval_is_bound_to_all_that_is_live(agents: Manifest, checkout: Path) -> None:
    """Each of these, one after the other, moves exactly what it is."""
    moves: list[tuple[str, Callable[[], object]]] = [
        ("tree", lambda: (checkout / "app.py").write_text("edited\n")),
        ("configuration", lambda: (checkout / ".env").write_text("A=2\n")),
        ("environment", lambda: (checkout / ".venv").symlink_to("/nowhere")),
        ("branch", lambda: run(checkout, "checkout", "-q", "-b", "other")),
        ("commit", lambda: commit(checkout, "Another")),
    ]
    planning.look(agents, Request("v1"))  # which hides .venv and .rollback from git
    before = found(agents)
    for name, move in moves:
        move()
        now = found(agents)
        assert now[name] != before[name], name
        before = now
    assert found(replace(agents, text="changed"))["manifest"] != before["manifest"]


def test_names_that_are_no_utf8_can_be_shown(agents: Manifest) -> None:
    Path(os.fsdecode(os.fsencode(agents.root) + b"/caf\xe9")).write_text("x")
    planning.look(agents, Request("v1"))
    facts = [planning.file_facts(each) for each in git.uncommitted(agents.root)]
    assert [each["path"] for each in facts] == ["caf?"]


def test_releases_are_named_before_restore_points(context: Callable[..., Context], agents: Manifest) -> None:
    back_up(context, agents, TAG)
    head = run(agents.root, "rev-parse", "HEAD")
    assert planning.commit_facts(agents, head)["tags"] == [TAG]
    run(agents.root, "tag", "v2")
    assert planning.commit_facts(agents, head)["tags"] == ["v2"]


def test_what_a_procedure_does_not_name_stays(agents: Manifest) -> None:
    plan = planning.plan({"commit": "x"}, {}, PROCEDURES["code"].steps, {}, None)
    assert plan.essence["goal"] == {**planning.STAYS, "commit": "x"}


def test_nothing_stands_where_only_the_portals_own_is(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert backup.is_empty(root)
    (root / ".rollback").mkdir(parents=True)
    assert backup.is_empty(root)
    (root / ".env").write_text("A=1")
    assert not backup.is_empty(root)
