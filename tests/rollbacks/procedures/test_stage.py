from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import stage
from rollbacks.procedures.base import CannotPlan, Context, Request, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.stage import ENVIRONMENT, TRY, WORKTREE
from rollbacks.tools import environment, probe
from rollbacks.tools.environment import EnvironmentFailed
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import Planned, Words, back_up, carry, undo
from tests.rollbacks.procedures.serving import picture

TAG = "backup-20260301-110000"


def bare(target: Path) -> None:
    """An environment without pip, which takes two seconds to come into one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)


def keep(target: Path) -> None:
    """A whole environment: what a build would leave there."""
    bare(target)
    environment.mark(target)


def with_test(agents: Manifest, words: str) -> Manifest:
    return replace(agents, commands={"test": words})


# --- the code -------------------------------------------------------------------------------------------------------


def test_the_target_is_laid_out_beside_the_live_tree(planned: Planned, agents: Manifest, checkout: Path) -> None:
    before = picture(checkout)
    mine = planned(agents)
    carry(mine, PREFLIGHT, WORKTREE)
    assert (stage.tree(mine) / "app.py").read_text() == "VERSION = 1\n"
    assert {**picture(checkout), "worktrees": ""} == {**before, "worktrees": ""}
    undo(mine, WORKTREE)
    assert picture(checkout) == before
    assert not mine.stage.exists()


def test_it_is_laid_out_anew_whatever_a_dead_worker_left(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT, WORKTREE)
    (stage.tree(mine) / "left.txt").write_text("half")
    (stage.tree(mine) / "app.py").write_text("half")
    carry(mine, WORKTREE)
    assert git(stage.tree(mine), "status", "--porcelain", "--untracked-files=no") == ""
    assert not (stage.tree(mine) / "left.txt").exists()


def test_configuration_and_secrets_are_laid_out_as_they_will_be(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    (checkout / "config/agents.json").write_text('{"model": "edited on the host"}')
    (checkout / "config/agents.json").chmod(0o600)
    mine = planned(agents)
    carry(mine, PREFLIGHT, WORKTREE)
    for folder in (stage.tree(mine), stage.files_dir(mine)):
        assert (folder / "config/agents.json").read_text() == '{"model": "edited on the host"}'
        assert (folder / "config/agents.json").stat().st_mode & 0o777 == 0o600
    assert (stage.tree(mine) / ".env").read_text() == "API_TOKEN=super-secret-token\n"


def test_configuration_of_a_restore_point_is_laid_out_with_its_mode(
    planned: Planned, context: Callable[..., Context], agents: Manifest, checkout: Path
) -> None:
    (checkout / "config/agents.json").chmod(0o600)
    point = back_up(context, agents, TAG)
    (checkout / "config/agents.json").unlink()
    mine = planned(agents, Request(TAG, point, with_configuration=True))
    carry(mine, PREFLIGHT, WORKTREE)
    laid = stage.files_dir(mine) / "config/agents.json"
    assert json.loads(laid.read_text()) == {"model": "small", "api_key": "k1"}
    assert laid.stat().st_mode & 0o777 == 0o600


def test_what_is_no_longer_as_approved_is_not_laid_out(planned: Planned, agents: Manifest, checkout: Path) -> None:
    (checkout / "config/agents.json").write_text('{"model": "big"}')
    mine = planned(agents)
    (checkout / "config/agents.json").write_text('{"model": "huge"}')
    with pytest.raises(StepFailed, match=r"config/agents\.json is no longer what was approved\. Nothing was switched"):
        carry(mine, PREFLIGHT, WORKTREE)


def test_a_byte_of_the_restore_point_that_changed_since_is_noticed(
    planned: Planned, context: Callable[..., Context], agents: Manifest, checkout: Path
) -> None:
    point = back_up(context, agents, TAG)
    commit(checkout, "Big", config__agents_json='{"model": "big"}')
    mine = planned(agents, Request(TAG, point, with_configuration=True))
    (agents.backups / TAG / "config/config/agents.json").write_text('{"model": "evil"}')
    with pytest.raises(StepFailed, match="is no longer what was approved"):
        carry(mine, PREFLIGHT, WORKTREE)


# --- the environment ------------------------------------------------------------------------------------------------


@pytest.fixture
def needing(agents: Manifest, checkout: Path) -> Manifest:
    """v2 and main name requirements, and not the same."""
    commit(checkout, "Need", requirements_txt="tool==1\n")
    git(checkout, "tag", "v2")
    commit(checkout, "Need more", requirements_txt="tool==2\n")
    return agents


def test_without_requirements_the_environment_stays(planned: Planned, agents: Manifest, said: Words) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT, WORKTREE, ENVIRONMENT)
    assert "the environment stays as it is" in str(said)
    assert not (mine.state_dir / "environments").exists()


def test_an_environment_that_is_kept_is_not_built_again(planned: Planned, needing: Manifest, said: Words) -> None:
    mine = planned(needing, Request("v2"))
    keep(stage.kept_environment(needing, mine.goal["lock"]))
    carry(mine, PREFLIGHT, WORKTREE, ENVIRONMENT)
    assert mine.facts["environment"]["kept"]
    assert "is kept already" in str(said)
    undo(mine, WORKTREE, ENVIRONMENT)
    assert environment.is_kept(stage.kept_environment(needing, mine.goal["lock"]))


def test_a_package_that_cannot_be_had_is_named_and_half_an_environment_is_not_left(
    planned: Planned, needing: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(environment, "make_bare", lambda run, target, python, uv: bare(target))
    before = picture(checkout)
    mine = planned(needing, Request("v2"))
    carry(mine, PREFLIGHT, WORKTREE)
    with pytest.raises(EnvironmentFailed, match=r"The package tool.* cannot be had"):
        ENVIRONMENT.apply(mine)
    undo(mine, WORKTREE, ENVIRONMENT)
    assert not stage.kept_environment(needing, mine.goal["lock"]).exists()
    assert picture(checkout) == before


def test_an_environment_of_which_half_is_gone_is_noticed(planned: Planned, needing: Manifest) -> None:
    mine = planned(needing, Request("v2"))
    target = stage.kept_environment(needing, mine.goal["lock"])
    keep(target)
    carry(mine, PREFLIGHT, WORKTREE, ENVIRONMENT)
    (target / environment.MARKER).unlink()
    with pytest.raises(StepFailed, match="is not whole"):
        ENVIRONMENT.verify(mine)


def installed(target: Path, name: str) -> None:
    """What `pip install` in it would leave there."""
    info = target / f"lib/python3.11/site-packages/{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")


def test_one_that_somebody_has_installed_into_is_not_taken_for_the_one_that_was_built(
    planned: Planned, needing: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left alone: the system may run with it."""
    mine = planned(needing, Request("v2"))
    changed = stage.kept_environment(needing, mine.goal["lock"])
    keep(changed)
    (checkout / ".venv").symlink_to(changed)
    installed(changed, "hotfix")
    monkeypatch.setattr(environment, "install", lambda run, target, python, listed: bare(target))
    mine = planned(needing, Request("v2"))
    carry(mine, PREFLIGHT, WORKTREE, ENVIRONMENT)
    built = stage.staged_environment(mine)
    assert built.name == f"{changed.name}-2"
    assert environment.is_kept(built)
    assert environment.freeze(changed) == "hotfix==1\n"
    installed(built, "by-the-service")
    assert stage.staged_environment(mine) == built, "who stages does not look for another one meanwhile"
    undo(mine, WORKTREE, ENVIRONMENT)
    assert changed.exists()


def test_a_half_built_one_that_the_system_runs_with_is_not_removed(
    planned: Planned, needing: Manifest, checkout: Path
) -> None:
    mine = planned(needing, Request("v2"))
    live = stage.kept_environment(needing, mine.goal["lock"])
    bare(live)
    (checkout / ".venv").symlink_to(live)
    assert stage.kept_environment(needing, mine.goal["lock"]).name == f"{live.name}-2"
    undo(mine, ENVIRONMENT)
    assert live.exists()


def test_what_the_requirements_include_names_the_environment(needing: Manifest, checkout: Path) -> None:
    """Two releases whose requirements.txt says the same, and whose base.txt does not, do not share one."""

    def lock(name: str) -> str:
        sha = commit(checkout, name)
        return stage.lock_for(needing, stage.requirements_of(needing, sha, None))

    (checkout / "reqs").mkdir()
    (checkout / "requirements.txt").write_text("-r reqs/base.txt\n-c reqs/pins.txt  # as tested\n./wheels/own.whl\n")
    (checkout / "reqs/base.txt").write_text("-r more.txt\ntool==1\n")
    (checkout / "reqs/more.txt").write_text("other==1\n-r base.txt\n")
    (checkout / "reqs/pins.txt").write_text("third==1\n")
    (checkout / "wheels").mkdir()
    (checkout / "wheels/own.whl").write_text("1")
    locks = [lock("one"), lock("the same")]
    assert locks[0] == locks[1]
    text = stage.requirements_of(needing, "HEAD", None)
    assert text.splitlines()[:3] == ["other==1", "tool==1", "-c reqs/pins.txt"]
    for name in ("reqs/more.txt", "reqs/pins.txt", "wheels/own.whl"):
        (checkout / name).write_text("else==2\n")
        locks.append(lock(name))
    assert len(set(locks)) == 4


@pytest.mark.parametrize("line", ["-e .", "--editable=./lib", "-e .[dev]  # us", "-e lib/own"])
def test_requirements_that_would_link_to_what_is_only_staged_are_refused(
    planned: Planned, needing: Manifest, checkout: Path, line: str
) -> None:
    """The link would dangle once the stage is tidied up: the service would not start the next time."""
    (checkout / "requirements.txt").write_text(f"tool==2\n{line}\n")
    commit(checkout, "Install ourselves")
    git(checkout, "tag", "v4")
    commit(checkout, "Other", app_py="VERSION = 5\n")
    with pytest.raises(CannotPlan, match=r"as a link .* only staged\. Nothing was changed\. Choose a restore point"):
        planned(needing, Request("v4"))


def test_a_restore_point_brings_the_packages_that_ran_then(
    planned: Planned, context: Callable[..., Context], needing: Manifest, checkout: Path
) -> None:
    info = checkout / ".venv/lib/python3.11/site-packages/tool-2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: tool\nVersion: 2\n")
    point = back_up(context, needing, TAG)
    commit(checkout, "Other", app_py="VERSION = 3\n")
    mine = planned(needing, Request(TAG, point))
    assert stage.requirements_of(needing, mine.goal["commit"], point) == "tool==2\n"
    (needing.backups / TAG / "requirements.backup.txt").write_text("tool==666\n")
    with pytest.raises(StepFailed, match="The requirements are no longer what was approved"):
        ENVIRONMENT.apply(mine)


# --- the system's own word ------------------------------------------------------------------------------------------


def test_its_own_tests_run_on_what_is_staged_with_its_environment(
    planned: Planned, needing: Manifest, said: Words, checkout: Path
) -> None:
    tried = with_test(needing, 'pwd; cat app.py; command -v python; echo "secret:$SECRET_KEY"')
    mine = planned(tried, Request("v2"))
    kept = stage.kept_environment(needing, mine.goal["lock"])
    keep(kept)
    carry(mine, PREFLIGHT, WORKTREE, ENVIRONMENT, TRY)
    lines = str(said).splitlines()
    assert str(stage.tree(mine)) in lines
    assert str(kept / "bin/python") in lines
    assert lines[-1] == "secret:"  # nothing of the portal's environment
    assert mine.facts["try"]["seconds"].keys() == {"test"}


def test_tests_that_fail_end_it_in_their_own_words(planned: Planned, agents: Manifest) -> None:
    mine = planned(with_test(agents, "echo 2 failed, 3 passed; exit 1"))
    with pytest.raises(StepFailed, match="ended with code 1: 2 failed, 3 passed"):
        carry(mine, PREFLIGHT, WORKTREE, TRY)


def test_configuration_is_validated_before_the_tests_run(planned: Planned, agents: Manifest, said: Words) -> None:
    both = replace(agents, commands={"test": "echo tested", "validate_config": "echo model is unknown; exit 3"})
    with pytest.raises(StepFailed, match="ended with code 3: model is unknown"):
        carry(planned(both), PREFLIGHT, WORKTREE, TRY)
    assert "tested" not in str(said)


def test_staged_configuration_that_is_no_json_ends_it(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT, WORKTREE)
    (stage.tree(mine) / "config/agents.json").write_text("{torn")
    with pytest.raises(StepFailed, match=r"would not be valid.*Nothing was switched; the service still runs"):
        TRY.apply(mine)


def test_tests_that_hang_are_ended_with_all_their_children(
    planned: Planned, agents: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "COMMAND_SECONDS", 0.5)
    mine = planned(with_test(agents, f"sleep 600 & echo $! > {checkout.parent}/pid; wait"))
    began = time.monotonic()
    with pytest.raises(StepFailed, match="and was ended"):
        carry(mine, PREFLIGHT, WORKTREE, TRY)
    assert time.monotonic() - began < 20
    assert probe.process(int((checkout.parent / "pid").read_text())) is None
    assert list(mine.groups.iterdir()) == []


def test_tests_that_somebody_stops_are_ended(planned: Planned, agents: Manifest, said: Words) -> None:
    mine = planned(with_test(agents, "echo begun; sleep 600"), stopped=lambda: "begun\n" in said)
    with pytest.raises(StepFailed, match="was stopped"):
        carry(mine, PREFLIGHT, WORKTREE, TRY)


def test_a_system_without_a_test_command_says_so(planned: Planned, agents: Manifest, said: Words) -> None:
    carry(planned(replace(agents, commands={})), PREFLIGHT, WORKTREE, TRY)
    assert "the manifest names no test command: nothing to try" in str(said)
