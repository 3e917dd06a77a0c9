from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import backup, planning, safety
from rollbacks.procedures.base import Point, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.tools import ToolError, files, manifest
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import Planned, carry, undo
from tests.rollbacks.procedures.serving import Served, app, picture

TAG = "failed-20260301-120000"


def test_the_state_as_found_is_kept_uncommitted_changes_included(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    (checkout / "note.txt").write_text("left by somebody\n")
    (checkout / ".env").write_text("API_TOKEN=another\n")
    before = picture(checkout)
    mine = planned(agents)
    carry(mine, PREFLIGHT, SAFETY)
    assert picture(checkout) == before
    assert git(checkout, "show", f"{TAG}:app.py") == "VERSION = 3"
    assert git(checkout, "show", f"{TAG}:note.txt") == "left by somebody"
    assert (agents.backups / TAG / "secrets/.env").read_text() == "API_TOKEN=another\n"
    assert mine.facts["safety"]["commit"] == git(checkout, "rev-parse", "main")


def test_it_is_a_restore_point_like_any_other(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT, SAFETY)
    sealed = mine.facts["safety"]["restore_point"]
    assert backup.check(agents, Point(TAG, sealed["commit"], sealed["manifest_sha256"])) == []


def test_what_was_found_is_written_down_once(planned: Planned, agents: Manifest, checkout: Path) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT, SAFETY)
    found = mine.facts["safety"]
    git(checkout, "checkout", "-q", "v1")  # as if the switch had been done, and its worker died
    (checkout / ".env").unlink()
    carry(mine, SAFETY)
    assert mine.facts["safety"] == found
    assert (safety.as_found(mine) / "secrets/.env").exists()


def test_another_rollback_with_the_same_number_takes_nothing_of_an_old_one(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    """A portal with a new database counts from 1 again."""
    carry(planned(agents), PREFLIGHT, SAFETY)
    commit(checkout, "Another", app_py="VERSION = 3\n")
    later = planned(agents, safety_tag="failed-20260401-120000")
    carry(later, PREFLIGHT, SAFETY)
    assert later.facts["safety"]["commit"] == git(checkout, "rev-parse", "main")


def test_a_worker_that_died_in_the_middle_is_followed_up(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT)
    backup.copy_files(agents, backup.part(agents, TAG))
    safety.as_found(mine).mkdir(parents=True)
    (safety.as_found(mine) / "index").write_bytes(b"half")
    carry(mine, SAFETY)
    assert (safety.as_found(mine) / "index").read_bytes() == (agents.root / ".git/index").read_bytes()


def test_one_who_died_when_the_point_was_whole_leaves_nothing_half_made(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT, SAFETY)
    (safety.as_found(mine) / "facts.json").unlink()  # written after the point had its name
    carry(mine, SAFETY)
    assert [path.name for path in agents.backups.iterdir()] == [TAG]


def test_half_a_safety_point_is_taken_away_and_a_whole_one_stays(
    planned: Planned, agents: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT)
    with monkeypatch.context() as full:
        full.setattr(files, "sha256", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            SAFETY.apply(mine)
    assert git(checkout, "tag", "-l", TAG) == TAG
    undo(mine, SAFETY)
    assert git(checkout, "tag", "-l", TAG) == ""
    assert list(agents.backups.iterdir()) == []
    assert not safety.as_found(mine).exists()
    carry(mine, SAFETY)
    undo(mine, SAFETY)
    assert git(checkout, "tag", "-l", TAG) == TAG
    assert (agents.backups / TAG / "manifest.json").exists()


def test_one_that_cannot_be_read_back_ends_it_before_anything_is_changed(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT)
    mine.facts["safety"] = SAFETY.apply(mine)
    (agents.backups / TAG / "secrets/.env").write_text("API_TOKEN=mine\n")
    with pytest.raises(StepFailed, match=r"cannot be trusted, so nothing is changed: .*\.env has changed"):
        SAFETY.verify(mine)


def test_what_the_service_writes_stays_out_unless_git_tracks_it(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    (checkout / ".gitignore").write_text(".venv\n.env\n")
    commit(checkout, "Ignore less, and track what artifacts there are")
    (checkout / "artifacts/history.txt").write_text("two\n")
    (checkout / "logs/app.log").write_text("a line\n")
    carry(planned(agents), PREFLIGHT, SAFETY)
    kept = git(checkout, "ls-tree", "-r", "--name-only", TAG).splitlines()
    assert "logs/app.log" not in kept
    assert git(checkout, "show", f"{TAG}:artifacts/history.txt") == "two"


def test_an_ignored_file_that_the_target_would_overwrite_is_kept(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    commit(checkout, "Track data", data_txt="of the release\n")
    git(checkout, "tag", "tracking")
    git(checkout, "rm", "-q", "--cached", "data.txt")
    (checkout / ".gitignore").write_text(".venv\nlogs\nartifacts\n.env\ndata.txt\n")
    git(checkout, "commit", "-qam", "Ignore data")
    (checkout / "data.txt").write_text("of the host\n")
    mine = replace(
        planned(agents), essence={"goal": {**planning.STAYS, "commit": git(checkout, "rev-parse", "tracking")}}
    )
    carry(mine, PREFLIGHT, SAFETY)
    assert git(checkout, "show", f"{TAG}:data.txt") == "of the host"


def test_the_service_is_kept_in_mind_as_it_was(planned: Planned, served: Served) -> None:
    of = manifest.parse(served.manifest())
    stopped = planned(of)
    carry(stopped, PREFLIGHT, SAFETY)
    found = stopped.facts["safety"]
    assert (found["running"], found["pid"], found["healthy"]) == (False, 0, False)
    (of.root / "app.py").write_text(app(3))
    pid = served.start()
    running = planned(of, safety_tag="failed-20260301-120001")
    carry(running, PREFLIGHT, SAFETY)
    found = running.facts["safety"]
    assert (found["running"], found["pid"], found["healthy"]) == (True, pid, True)


def test_a_configuration_file_outside_of_the_root_is_refused(planned: Planned, agents: Manifest) -> None:
    mine = planned(agents)
    carry(mine, PREFLIGHT)
    (agents.root / "outside").symlink_to("/etc")
    mine.manifest = replace(agents, secrets=("outside/passwd",))
    with pytest.raises(ToolError, match="through a link"):
        SAFETY.apply(mine)
