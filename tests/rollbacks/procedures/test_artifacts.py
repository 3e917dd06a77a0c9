"""The artifacts of a restore point cost what has changed since the one before; and where they are laid out."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import artifacts, backup, safety, stage
from rollbacks.procedures.base import CannotPlan, Context, Point, Request
from rollbacks.procedures.state import PROCEDURE
from rollbacks.tools import store
from rollbacks.tools.manifest import Manifest
from tests.rollbacks.procedures.conftest import PlannedBy, Words, back_up, before_switch, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
FIRST, SECOND = "backup-20260301-110000", "backup-20260301-120000"
PROJECT = Path(__file__).resolve().parents[3]

TAKE = """
import sys
from pathlib import Path
from rollbacks.procedures import artifacts
from rollbacks.tools import manifest
artifacts.keep(manifest.parse(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), None, print)
"""


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once, not only after two seconds."""
    monkeypatch.setattr(store, "RECENT", 0.0)


def objects(of: Manifest, tag: str) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (of.backups / tag / "artifacts/objects").iterdir()}


# --- what a backup costs --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("settled")
def test_a_second_backup_shares_what_has_not_changed(
    context: Make, agents: Manifest, checkout: Path, said: Words
) -> None:
    (checkout / "artifacts/model.bin").write_bytes(os.urandom(100_000))
    first = back_up(context, agents, FIRST)
    (checkout / "artifacts/history.txt").write_text("two\n")
    said.clear()
    second = back_up(context, agents, SECOND, previous=FIRST)
    shared = set(objects(agents, FIRST).items()) & set(objects(agents, SECOND).items())
    assert len(shared) == 1
    assert f"1 were read, {artifacts.size(agents.backups / SECOND).own} bytes are new on the disk" in str(said)
    assert f"the rest is shared with {FIRST}" in str(said)
    assert artifacts.size(agents.backups / SECOND).own < 2000 < artifacts.size(agents.backups / SECOND).bytes

    shutil.rmtree(agents.backups / FIRST)
    assert backup.check(agents, second) == []
    assert backup.check(agents, first) == [f"{agents.backups / FIRST / 'manifest.json'} is missing"]


@pytest.mark.parametrize("gone", ["backup-20200101-000000", FIRST])
def test_one_that_is_gone_or_has_no_artifacts_is_nothing_to_build_on(
    context: Make, agents: Manifest, said: Words, gone: str
) -> None:
    if gone == FIRST:
        back_up(context, replace(agents, artifacts=()), FIRST)
    assert backup.check(agents, back_up(context, agents, SECOND, previous=gone)) == []
    assert "is shared with" not in str(said)


@pytest.mark.usefixtures("settled")
def test_what_is_shared_with_a_point_that_was_read_back_is_not_read_again(
    context: Make, agents: Manifest, checkout: Path
) -> None:
    """The daily look at every restore point reads all of it."""
    back_up(context, agents, FIRST)
    second = back_up(context, agents, SECOND, previous=FIRST)
    (kept,) = (agents.backups / SECOND / "artifacts/objects").iterdir()
    kept.chmod(0o600)
    kept.write_bytes(kept.read_bytes().replace(b"one", b"two"))
    assert backup.check(agents, second, deep=False) == []
    assert backup.check(agents, second, trusted=FIRST) == []
    (wrong,) = backup.check(agents, second)
    assert wrong.startswith(f"artifacts/history.txt: {kept} cannot be read")


def test_one_who_is_killed_while_keeping_is_followed_by_one_who_keeps_all(
    context: Make, agents: Manifest, checkout: Path, tmp_path: Path
) -> None:
    for number in range(100):
        (checkout / f"artifacts/{number}.bin").write_bytes(os.urandom(200_000))
    mine = context(agents, goal={"tag": FIRST, "message": "before 3"})
    carry(mine, *backup.PROCEDURE.steps[:4])
    (tmp_path / "system.toml").write_text(agents.text)
    part = backup.part(agents, FIRST)
    words = [sys.executable, "-c", TAKE, str(tmp_path / "system.toml"), str(part)]
    somebody = subprocess.Popen(words, cwd=PROJECT)
    half, deadline = part / ".artifacts.partial/new/objects", time.monotonic() + 30
    while not half.is_dir() or not any(half.iterdir()):
        assert somebody.poll() is None, "it was done before it could be seen at work"
        assert time.monotonic() < deadline
    somebody.kill()
    somebody.wait()
    assert not (part / "artifacts").exists()

    carry(mine, *backup.PROCEDURE.steps[4:])
    sealed = mine.facts["seal"]["restore_point"]
    assert backup.check(agents, Point(FIRST, sealed["commit"], sealed["manifest_sha256"])) == []
    assert len(objects(agents, FIRST)) == 101
    assert not list(agents.backups.rglob("*.partial"))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's address is short
        made.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize("make", [a_pipe, a_socket])
def test_pipes_and_sockets_keep_no_backup_waiting_and_are_in_none(
    context: Make, agents: Manifest, checkout: Path, make: Callable[[Path], None]
) -> None:
    make(checkout / "artifacts/inside")
    make(checkout / "queue")
    of = replace(agents, artifacts=("artifacts", "queue"))
    point = back_up(context, of, FIRST)
    assert backup.check(of, point) == []
    assert artifacts.sizes(of.backups / FIRST) == {"artifacts": 0, "artifacts/history.txt": 4}
    assert artifacts.held(of, of.backups / FIRST) == {"artifacts": 4}


# --- where they stand -----------------------------------------------------------------------------------------------


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory on a file system of its own."""
    made = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="portal-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def linked(checkout: Path, volume: Path) -> Path:
    """The artifacts are kept on a disk of their own, and a link leads there."""
    shutil.copytree(checkout / "artifacts", volume / "agents")
    shutil.rmtree(checkout / "artifacts")
    (checkout / "artifacts").symlink_to(volume / "agents")
    return volume


@pytest.mark.usefixtures("here")
def test_a_link_to_another_disk_leads_to_the_restored_state_there_and_comes_back(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path, linked: Path
) -> None:
    point = back_up(context, agents, FIRST)
    (linked / "agents/history.txt").write_text("spoiled\n")
    before = picture(checkout)
    assert PROCEDURE.plan(agents, Request(FIRST, point)).shown["artifacts"] == [
        {"name": "artifacts", "now": 8, "then": 4, "beside": str(linked)}
    ]
    mine = planned_by(PROCEDURE, agents, Request(FIRST, point))
    carry(mine, *PROCEDURE.steps)
    restored = linked / "agents-restored-20260301-120000"
    assert (checkout / "artifacts").readlink() == restored / "artifacts"
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert restored.stat().st_mode & 0o777 == 0o755, "the service may be another user"
    assert (linked / "agents/history.txt").read_text() == "spoiled\n", "what it led to is not touched"
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before
    assert (checkout / "artifacts").readlink() == linked / "agents"
    assert (safety.as_found(mine) / "undone/artifacts").readlink() == restored / "artifacts", "nothing is deleted"


@pytest.mark.usefixtures("here")
def test_one_that_is_given_up_before_the_switch_leaves_nothing_on_the_other_disk(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path, linked: Path
) -> None:
    point = back_up(context, agents, FIRST)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, agents, Request(FIRST, point))
    carry(mine, *before_switch(PROCEDURE))
    carry(mine, PROCEDURE.step("artifacts"))  # by one who took it over
    assert sorted(each.name for each in linked.iterdir()) == ["agents", "agents-restored-20260301-120000"]
    (linked / ".agents-restored-20260301-120000.partial/new").mkdir(parents=True)
    undo(mine, *before_switch(PROCEDURE))
    assert [each.name for each in linked.iterdir()] == ["agents"]
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_a_link_within_the_checkout_becomes_a_directory_and_comes_back(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path
) -> None:
    (checkout / "artifacts").rename(checkout / "logs/artifacts")
    (checkout / "artifacts").symlink_to("logs/artifacts")
    point = back_up(context, agents, FIRST)
    before = picture(checkout)
    mine = planned_by(PROCEDURE, agents, Request(FIRST, point))
    carry(mine, *PROCEDURE.steps)
    assert not (checkout / "artifacts").is_symlink()
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    undo(mine, *PROCEDURE.steps)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_what_cannot_be_renamed_into_place_is_refused_before_anything_is_touched(
    agents: Manifest, context: Make, checkout: Path
) -> None:
    point = back_up(context, agents, FIRST)
    shutil.rmtree(checkout / "artifacts")
    before = picture(checkout)
    (checkout / "artifacts").symlink_to("/proc")
    with pytest.raises(CannotPlan, match=r"artifacts is another file system \(/proc\), and nothing can be renamed"):
        PROCEDURE.plan(agents, Request(FIRST, point))
    assert (checkout / "artifacts").readlink() == Path("/proc")
    (checkout / "artifacts").unlink()  # what it leads to is the machine's, and changes by itself
    assert picture(checkout) == before
    with pytest.raises(CannotPlan, match="/dev/shm/agents is another file system"):
        artifacts.leads_to(replace(agents, root=Path("/")), "dev/shm/agents")


def test_only_what_stands_in_the_checkout_is_unpacked_there(
    planned_by: PlannedBy, context: Make, agents: Manifest, checkout: Path, linked: Path
) -> None:
    (checkout / "reports").mkdir()
    (checkout / "reports/a.md").write_text("fine")
    (checkout / ".gitignore").write_text((checkout / ".gitignore").read_text() + "reports\n")
    of = replace(agents, artifacts=("artifacts", "reports"))
    mine = planned_by(PROCEDURE, of, Request(FIRST, back_up(context, of, FIRST)))
    carry(mine, *before_switch(PROCEDURE))
    staged = stage.staged_artifacts(mine)
    assert {each.name: each.is_symlink() for each in staged.iterdir()} == {"artifacts": True, "reports": False}
    assert [each.name for each in (linked / "agents-restored-20260301-120000").iterdir()] == ["artifacts"]
