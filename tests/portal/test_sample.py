"""The sample is real: laid out, started, broken and brought back here by hand, as a person would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.sample import control
from portal.sample.layout import PROGRAM, git, lay_out, make_environment, root, supervisor
from portal.supervision import wait_until


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def invoke(checkout: Path, task: str) -> subprocess.CompletedProcess[str]:
    """Runs a task as the manifest says: in the checkout, with its environment on PATH."""
    environment = os.environ | {"PATH": f"{checkout / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["invoke", task], cwd=checkout, env=environment, capture_output=True, text=True, check=False)


class Sample:
    """The laid-out sample, and what it answers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.said: list[str] = []
        self.manifest = lay_out(home, say=self.said.append, health_port=self.port)
        self.root = root(home)

    def health(self) -> tuple[int, dict[str, object]]:
        """The status and the answer; 0 while it refuses connections."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def becomes(self, status: int, release: str) -> bool:
        return wait_until(lambda: self.health()[0] == status and self.health()[1].get("release") == release, seconds=10)

    def bring_back(self) -> None:
        """The guide's Scenario 1, by hand."""
        git(self.root, "checkout", "--quiet", "v1.2.0")
        make_environment(self.root)
        supervisor(self.home).restart(PROGRAM)


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    sample = Sample(tmp_path_factory.mktemp("portal") / "sample")
    control.start_supervisor(sample.home)
    yield sample
    control.stop_supervisor(sample.home)


@pytest.fixture
def sample(laid_out: Sample) -> Iterator[Sample]:
    """The sample on its good release, before and after each test."""
    assert laid_out.becomes(200, "1.2.0")
    yield laid_out
    if git(laid_out.root, "describe", "--tags", "--always") != "v1.2.0":
        laid_out.bring_back()


def test_the_manifest_names_what_was_laid_out(sample: Sample) -> None:
    manifest = tomllib.loads(sample.manifest.read_text())
    system = manifest["system"]
    named = [*system["config"], *system["secrets"], *system["artifacts"], *system["logs"], system["requirements"]]
    assert all((sample.root / name).exists() for name in named)
    assert Path(system["backups"]).is_dir()
    assert manifest["service"]["manager"] == "supervisor"
    assert supervisor(sample.home).answers()
    assert len(str(supervisor(sample.home).socket)) < 107


def test_the_checkout_is_clean_tagged_and_pushed(sample: Sample) -> None:
    assert git(sample.root, "status", "--porcelain") == ""
    assert git(sample.root, "tag").split() == ["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0"]
    assert git(sample.root, "ls-remote", "--tags", "origin", "v1.2.0")
    assert git(sample.root, "rev-parse", "main") == git(sample.root, "rev-parse", "origin/main")
    assert not (sample.root / ".venv").is_symlink()


def test_laying_out_again_changes_nothing(sample: Sample) -> None:
    before = sample.manifest.read_text(), git(sample.root, "rev-parse", "HEAD"), len(sample.said)
    lay_out(sample.home, say=sample.said.append, health_port=sample.port)
    assert (sample.manifest.read_text(), git(sample.root, "rev-parse", "HEAD"), len(sample.said)) == before


@pytest.mark.parametrize("task", ["test", "validate-config", "run-parallel"])
def test_its_tasks_pass(sample: Sample, task: str) -> None:
    done = invoke(sample.root, task)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bad_release_starts_passes_its_tests_and_answers_500(sample: Sample) -> None:
    commit = control.deploy_bad(sample.home)
    assert commit == git(sample.root, "rev-parse", "release-1.3")
    assert sample.becomes(500, "1.3.0")
    assert "context_window" in str(sample.health()[1]["error"])
    for task in ("test", "validate-config"):
        assert invoke(sample.root, task).returncode == 0

    sample.bring_back()
    assert sample.becomes(200, "1.2.0")


def test_deploying_it_again_leaves_kept_environments_and_edits_alone(sample: Sample) -> None:
    kept = sample.root / ".rollback" / "environments" / "abc"
    kept.parent.mkdir(parents=True, exist_ok=True)
    (sample.root / ".venv").rename(kept)
    (sample.root / ".venv").symlink_to(kept)
    before = sorted(path.name for path in (kept / "lib").glob("*/site-packages/*.dist-info"))
    config = sample.root / "config/agents.config.json"
    config.write_text(config.read_text() + "\n")

    control.deploy_bad(sample.home)

    assert sample.becomes(500, "1.3.0")
    assert sorted(path.name for path in (kept / "lib").glob("*/site-packages/*.dist-info")) == before
    assert not (sample.root / ".venv").is_symlink()
    assert "set aside" in git(sample.root, "stash", "list")
    git(sample.root, "stash", "drop", "--quiet")


def test_without_its_service_manager_nothing_is_deployed(tmp_path: Path) -> None:
    with pytest.raises(control.NotRunningError, match="make up"):
        control.deploy_bad(tmp_path)
