"""Packages go back, built beside the live environment and tried there: a fault is found before the outage."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import safety, stage, switch
from rollbacks.procedures.base import CannotPlan, Context, Request, StepFailed
from rollbacks.procedures.dependencies import PROCEDURE
from rollbacks.procedures.stage import ENVIRONMENT, IMPORTS
from rollbacks.procedures.switch import SWITCH
from rollbacks.tools import environment
from rollbacks.tools.environment import EnvironmentFailed
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import PlannedBy, Words, back_up, before_switch, begin_switch, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
TAG = "backup-20260301-110000"


def wheel(folder: Path, name: str, version: str, content: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as made:
        made.writestr(f"{name}.py", content)
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def bare(target: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)


@pytest.fixture
def needing(agents: Manifest, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """tool 2 runs, in a directory of its own; v2 needed tool 1, “ghost” a package that nobody has, “sick” one that
    cannot be imported."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel(shelf, "tool", "1.0", "version = 1\n")
    wheel(shelf, "tool", "2.0", "version = 2\n")
    wheel(shelf, "sick", "1.0", "raise ImportError('libsick.so.1: cannot open shared object file')\n")
    for name, value in (("UV_FIND_LINKS", str(shelf)), ("UV_NO_INDEX", "1"), ("PIP_NO_INDEX", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environment, "make_bare", lambda run, target, python, uv: bare(target))
    for tag, needs in (("v2", "tool==1.0\n"), ("ghost", "ghost==9\n"), ("sick", "tool==1.0\nsick==1.0\n")):
        commit(checkout, f"Need {tag}", requirements_txt=needs)
        git(checkout, "tag", tag)
    commit(checkout, "Need tool 2", requirements_txt="tool==2.0\n")
    live(checkout, "tool==2.0\n")
    return agents


def live(checkout: Path, needs: str) -> None:
    environment.build(checkout / ".venv", needs, python=Path(sys.executable), cwd=checkout)


def version(checkout: Path) -> str:
    words = [str(checkout / ".venv/bin/python"), "-c", "import tool; print(tool.version)"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def refused(of: Manifest, target: str) -> str:
    with pytest.raises(CannotPlan) as refusal:
        PROCEDURE.plan(of, Request(target))
    return str(refusal.value)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_it_moves_packages_and_nothing_else(needing: Manifest, checkout: Path) -> None:
    found = PROCEDURE.plan(needing, Request("v2"))
    assert found.shown["packages"] == [{"name": "tool", "from": "2.0", "to": "1.0"}]
    assert found.shown["environment_kept"] is False
    goal = found.essence["goal"]
    assert (len(goal["lock"]), goal["source"]) == (16, git(checkout, "rev-parse", "v2"))
    assert not any(goal[name] for name in ("commit", "paths", "config", "secrets", "artifacts", "logs"))
    assert refused(needing, "main") == "The packages of agents are those of main already: nothing to do."


def test_a_target_that_names_no_packages_is_refused(needing: Manifest) -> None:
    assert refused(needing, "v1") == "v1 names no packages (requirements.txt). Choose another target."


def test_without_a_live_environment_the_python_of_the_restore_point_is_asked_for(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan and the step have to mean the same interpreter, also where it is not the portal's own."""
    old = checkout.parent / "bin/python3.5"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 3.5.10\n")
    old.chmod(0o755)
    packages = checkout / ".venv/lib/python3.5/site-packages/tool-2.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Name: tool\nVersion: 2\n")
    (checkout / ".venv/bin").mkdir()
    (checkout / ".venv/bin/python").symlink_to(old)
    point = back_up(context, agents, TAG)
    (checkout / ".venv").rename(checkout.parent / "lost")
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    mine = planned_by(PROCEDURE, agents, Request(TAG, point))
    assert mine.goal["lock"] == environment.lock_hash("tool==2\n", "3.5.10")
    assert mine.goal["lock"] == stage.lock_for(agents, "tool==2\n", point)


# --- there, and back ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_the_environment_is_switched_and_code_and_configuration_stay(
    planned_by: PlannedBy, needing: Manifest, checkout: Path
) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    before, head = picture(checkout), git(checkout, "rev-parse", "HEAD")
    mine = planned_by(PROCEDURE, needing, Request("v2"))
    carry(mine, *PROCEDURE.steps)
    assert version(checkout) == "1"
    assert (git(checkout, "rev-parse", "HEAD"), (checkout / "app.py").read_text()) == (head, "VERSION = 3\n")
    assert (safety.as_found(mine) / "environment/bin/python").exists(), "what ran is set aside, whole"
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before
    assert version(checkout) == "2"


@pytest.mark.usefixtures("here")
def test_a_restore_point_brings_exactly_what_ran_then(
    planned_by: PlannedBy, context: Make, needing: Manifest, checkout: Path
) -> None:
    point = back_up(context, needing, TAG)
    (checkout / ".venv").rename(checkout.parent / "then")
    live(checkout, "tool==1.0\n")
    mine = planned_by(PROCEDURE, needing, Request(TAG, point))
    carry(mine, *before_switch(PROCEDURE))
    begin_switch(mine)
    (checkout / ".venv").rename(safety.as_found(mine) / "environment")  # killed here: neither one nor the other
    carry(mine, SWITCH)
    assert version(checkout) == "2"
    undo(mine, SWITCH)
    assert version(checkout) == "1"


# --- found before the outage ----------------------------------------------------------------------------------------


def test_a_package_that_cannot_be_had_is_named_before_anything_is_switched(
    planned_by: PlannedBy, needing: Manifest, checkout: Path
) -> None:
    before = picture(checkout)
    mine = planned_by(PROCEDURE, needing, Request("ghost"))
    with pytest.raises(EnvironmentFailed, match=r"The package ghost.* cannot be had"):
        carry(mine, *PROCEDURE.steps)
    assert not switch.journal_path(mine, "there").exists()
    undo(mine, *before_switch(PROCEDURE))
    assert picture(checkout) == before
    assert list((mine.state_dir / "environments").glob("*/bin")) == [], "half of one is not left"


def test_a_package_that_cannot_be_imported_is_found_before_anything_is_switched(
    planned_by: PlannedBy, needing: Manifest, checkout: Path, said: Words
) -> None:
    mine = planned_by(PROCEDURE, needing, Request("sick"))
    with pytest.raises(StepFailed, match=r"sick cannot be imported \(ImportError: libsick.so.1.*Nothing was switched"):
        carry(mine, *PROCEDURE.steps)
    assert version(checkout) == "2"
    assert not switch.journal_path(mine, "there").exists()
    replaced = replace(needing, environment_dir=stage.staged_environment(mine).relative_to(checkout).as_posix())
    mine.manifest = replaced  # the live one is as sick: then it is no reason
    assert IMPORTS.apply(mine) == {"broken": ["sick"]}
    assert "nor in the live environment" in str(said)


def test_the_systems_own_tests_run_with_the_new_packages_and_the_code_as_it_is(
    planned_by: PlannedBy, needing: Manifest, checkout: Path, said: Words
) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    words = "cat app.py; python -c 'import tool; print(tool.version, 0)'; exit 7"
    mine = planned_by(PROCEDURE, replace(needing, commands={"test": words}), Request("v2"))
    with pytest.raises(StepFailed, match="ended with code 7"):
        carry(mine, *PROCEDURE.steps)
    assert "VERSION = 3\n1 0\n" in str(said)
    assert version(checkout) == "2"
    undo(mine, *before_switch(PROCEDURE))
    ENVIRONMENT.verify(mine)  # a whole one is kept for the next time
