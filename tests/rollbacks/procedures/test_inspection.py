from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rollbacks.procedures.inspection import inspect
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git


def test_what_is_deployed_and_what_could_be_gone_back_to(agents: Manifest, checkout: Path) -> None:
    git(checkout, "tag", "backup-20260301-110000")
    seen = inspect(agents)
    assert (seen["commit"], seen["branch"]) == (git(checkout, "rev-parse", "HEAD"), "main")
    assert [(each["subject"], each["tags"]) for each in seen["log"]] == [("Break it", []), ("Release 1", ["v1"])]
    assert (seen["uncommitted"], seen["packages"]) == (0, 0)
    assert seen["free"] > 0


def test_uncommitted_files_are_counted(agents: Manifest, checkout: Path) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    (checkout / "note.txt").write_text("left by somebody\n")
    assert inspect(agents)["uncommitted"] == 2


def test_a_host_that_is_not_as_it_should_be_is_a_problem_in_words(agents: Manifest, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    problem = f"{gone} does not exist. Clone the system there, or correct “root” in its manifest."
    assert inspect(replace(agents, root=gone)) == {"problem": problem}
    gone.mkdir()
    assert "is no git checkout" in inspect(replace(agents, root=gone))["problem"]


def test_a_broken_package_does_not_break_the_page(agents: Manifest, checkout: Path) -> None:
    info = checkout / ".venv/lib/python3.11/site-packages/tool-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: tool\nVersion: 1\n")
    (info / "direct_url.json").write_text("{torn")
    assert "problem" in inspect(agents)


def test_it_changes_nothing(agents: Manifest, checkout: Path) -> None:
    commit(checkout, "Another", app_py="VERSION = 3\n")
    (checkout / "app.py").write_text("VERSION = 4\n")
    before = (git(checkout, "status", "--porcelain"), (checkout / ".git/index").read_bytes())
    inspect(agents)
    assert ((git(checkout, "status", "--porcelain")), (checkout / ".git/index").read_bytes()) == before
