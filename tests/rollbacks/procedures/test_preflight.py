from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import preflight
from rollbacks.procedures.base import Context, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.tools import ToolError, fence, files
from rollbacks.tools.manifest import Manifest, Service
from tests.conftest import git
from tests.rollbacks.procedures.conftest import Words, carry
from tests.rollbacks.procedures.serving import Served, picture

Make = Callable[..., Context]


def test_it_changes_nothing_that_belongs_to_the_system(context: Make, agents: Manifest, checkout: Path) -> None:
    before = picture(checkout)
    carry(context(agents), PREFLIGHT)
    assert picture(checkout) == before


def test_the_fence_is_taken_and_an_older_worker_is_refused(context: Make, agents: Manifest, checkout: Path) -> None:
    carry(context(agents, token=7), PREFLIGHT)
    assert json.loads((checkout / ".rollback/fence").read_text())["token"] == 7
    with pytest.raises(fence.Superseded, match="has token 7"):
        PREFLIGHT.apply(context(agents, token=6))


def test_git_does_not_see_the_environment_link_nor_bytecode(context: Make, agents: Manifest, checkout: Path) -> None:
    (checkout / ".gitignore").write_text("logs\nartifacts\n.env\n.venv/\n")  # a slash at the end means no link
    git(checkout, "commit", "-qam", "Ignore")
    carry(context(agents), PREFLIGHT)
    (checkout / ".venv").symlink_to("/nowhere")
    (checkout / "tools/__pycache__").mkdir(parents=True)
    (checkout / "tools/__pycache__/app.cpython-311.pyc").touch()
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.parametrize("full", ["agents", "backups"])
def test_too_little_space_is_said_with_what_to_do(
    context: Make, agents: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    free = {checkout.parent / full: 10 * 2**20}
    monkeypatch.setattr(files, "free_bytes", lambda path: free.get(path, 2**40))
    with pytest.raises(StepFailed, match=rf"{full} has 10 MiB free and \d+ MiB are needed.*Nothing.*Free some space"):
        PREFLIGHT.apply(context(agents))


def test_the_room_that_is_needed_grows_with_history_and_artifacts(
    context: Make, agents: Manifest, checkout: Path
) -> None:
    before = preflight.room_needed(context(agents))
    (checkout / "artifacts/model.bin").write_bytes(b"x" * 300_000)
    (checkout / ".git/big.pack").write_bytes(b"x" * 500_000)
    assert preflight.room_needed(context(agents)) == before + 800_000


def test_a_root_that_is_no_checkout_is_left_alone(context: Make, agents: Manifest, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(ToolError, match="is no git checkout"):
        PREFLIGHT.apply(context(replace(agents, root=plain)))
    assert list(plain.iterdir()) == []


def test_a_checkout_in_the_middle_of_a_merge_is_left_alone(context: Make, agents: Manifest, checkout: Path) -> None:
    (checkout / ".git/MERGE_HEAD").write_text(git(checkout, "rev-parse", "HEAD"))
    with pytest.raises(ToolError, match="in the middle of a merge"):
        PREFLIGHT.apply(context(agents))


def test_the_service_is_looked_at(context: Make, agents: Manifest, served: Served, said: Words) -> None:
    mine = context(replace(agents, service=Service("supervisor", "app", f"unix://{served.daemon.socket}")))
    carry(mine, PREFLIGHT)
    assert mine.facts["preflight"] == {"running": False, "pid": 0}
    pid = served.start()
    carry(mine, PREFLIGHT)
    assert mine.facts["preflight"] == {"running": True, "pid": pid}
    assert "service: STOPPED" in str(said)


def test_a_service_manager_that_is_away_ends_it_before_anything_is_done(context: Make, agents: Manifest) -> None:
    lost = replace(agents, service=Service("supervisor", "app", "unix:///nonexistent.sock"))
    with pytest.raises(ToolError, match=r"cannot be reached at unix:///nonexistent\.sock.*Start supervisord"):
        PREFLIGHT.apply(context(lost))
