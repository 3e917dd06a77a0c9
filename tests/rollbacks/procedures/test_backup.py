from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import backup
from rollbacks.procedures.backup import PROCEDURE
from rollbacks.procedures.base import CannotPlan, Context, Point, Request, StepFailed
from rollbacks.tools import ToolError, files, store
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import Words, back_up, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
TAG = "backup-20260301-110000"


@pytest.fixture
def mine(context: Make, agents: Manifest) -> Context:
    return context(agents, goal={"tag": TAG, "message": "before 3"})


@pytest.fixture
def point(context: Make, agents: Manifest) -> Point:
    return back_up(context, agents, TAG)


def test_everything_of_the_guide_is_in_it(point: Point, agents: Manifest, checkout: Path) -> None:
    place = agents.backups / TAG
    assert (place / "config/config/agents.json").read_bytes() == (checkout / "config/agents.json").read_bytes()
    assert (place / "secrets/.env").read_text() == "API_TOKEN=super-secret-token\n"
    assert (place / "DEPLOYED_VERSION.txt").read_text().strip() == point.commit == git(checkout, "rev-parse", "HEAD")
    assert (place / "system.toml").read_text() == agents.text
    assert store.sizes(place / "artifacts") == {"artifacts": 0, "artifacts/history.txt": 4}
    assert (place / "restore.sh").stat().st_mode & 0o111
    assert git(checkout, "cat-file", "-t", TAG) == "tag"
    assert git(checkout, "tag", "-l", "--format=%(contents)", TAG) == "before 3"


def test_packages_are_frozen(context: Make, agents: Manifest, checkout: Path) -> None:
    info = checkout / ".venv/lib/python3.11/site-packages/tool-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: tool\nVersion: 1.2\n")
    back_up(context, agents, TAG)
    assert (agents.backups / TAG / "requirements.backup.txt").read_text() == "tool==1.2\n"


def test_nothing_live_changes(context: Make, agents: Manifest, checkout: Path) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    before = picture(checkout)
    back_up(context, agents, TAG)
    assert picture(checkout) == before


def test_uncommitted_files_are_told_because_the_tag_does_not_hold_them(
    mine: Context, checkout: Path, said: Words
) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    carry(mine, PROCEDURE.step("tag"))
    assert "1 uncommitted files are not part of the tag: app.py" in str(said)


def test_secrets_are_readable_by_their_owner_only(context: Make, agents: Manifest, checkout: Path) -> None:
    (checkout / ".env").chmod(0o600)
    back_up(context, agents, TAG)
    kept = agents.backups / TAG / "secrets/.env"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (agents.backups / TAG).stat().st_mode & 0o777 == 0o700


def test_a_sound_point_has_nothing_wrong(point: Point, agents: Manifest) -> None:
    assert backup.check(agents, point) == []


def test_a_changed_byte_is_found_in_every_member(point: Point, agents: Manifest) -> None:
    place = agents.backups / TAG
    members = [path for path in place.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(members) == 8
    for path in members:
        path.chmod(0o600)
        before = path.read_bytes()
        content = bytearray(before or b" ")
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        (wrong,) = backup.check(agents, point)
        is_object = path.parent.name == "objects"
        assert wrong.startswith(f"artifacts/history.txt: {path} " if is_object else f"{path} has changed since")
        path.write_bytes(before)


def test_a_list_of_hashes_that_was_changed_along_is_found(point: Point, agents: Manifest) -> None:
    place = agents.backups / TAG
    (place / "secrets/.env").write_text("API_TOKEN=mine\n")
    listing = json.loads((place / "manifest.json").read_text())
    listing["files"]["secrets/.env"] = files.sha256(place / "secrets/.env")
    (place / "manifest.json").write_text(json.dumps(listing))
    (wrong,) = backup.check(agents, point)
    assert "is not the one that was written when the restore point was made" in wrong


def test_a_file_that_was_put_in_is_found(point: Point, agents: Manifest) -> None:
    added = agents.backups / TAG / "config/config/other.json"
    added.write_text("{}")
    assert backup.check(agents, point) == [f"{added} was added since the restore point was made"]


def test_what_is_missing_is_named(point: Point, agents: Manifest, checkout: Path) -> None:
    (agents.backups / TAG / "secrets/.env").unlink()
    git(checkout, "tag", "--delete", TAG)
    assert backup.check(agents, point) == [
        f"{agents.backups / TAG / 'secrets/.env'} is missing",
        f"the tag {TAG} is gone from the repository ({agents.backups}/repository.git has it: fetch it from there)",
    ]
    (agents.backups / TAG / "manifest.json").unlink()
    assert backup.check(agents, point) == [f"{agents.backups / TAG / 'manifest.json'} is missing"]


def test_a_tag_that_was_moved_is_found(point: Point, agents: Manifest, checkout: Path) -> None:
    git(checkout, "tag", "--force", TAG, "v1")
    assert backup.check(agents, point) == [f"the tag {TAG} names another commit than {point.commit[:10]}"]


def test_a_tag_that_leaves_the_backups_is_refused(agents: Manifest) -> None:
    for tag in ("../elsewhere", "/etc", "-rf", "a/../../b", ""):
        with pytest.raises(ToolError, match="is not a safe path"):
            backup.check(agents, Point(tag, "0" * 40, "0" * 64))


def test_every_step_may_be_done_again(mine: Context, agents: Manifest) -> None:
    for step in PROCEDURE.steps:
        carry(mine, step, step)
    sealed = mine.facts["seal"]["restore_point"]
    assert backup.check(agents, Point(TAG, sealed["commit"], sealed["manifest_sha256"])) == []


def test_one_that_is_given_up_after_any_step_leaves_nothing_behind(
    context: Make, agents: Manifest, checkout: Path
) -> None:
    before = picture(checkout)
    for until in range(1, len(PROCEDURE.steps)):
        mine = context(agents, goal={"tag": TAG, "message": "before 3"})
        carry(mine, *PROCEDURE.steps[:until])
        undo(mine, *PROCEDURE.steps[:until])
        assert picture(checkout) == before
        assert git(checkout, "tag", "-l", "backup-*") == ""
        kept = agents.backups / "repository.git"
        assert [path for path in agents.backups.iterdir() if path != kept] == []
        assert until < 3 or git(kept, "tag") == ""


def test_a_tag_is_pushed_where_there_is_a_remote(context: Make, agents: Manifest, checkout: Path) -> None:
    remote = checkout.parent / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    git(checkout, "remote", "add", "origin", str(remote))
    back_up(context, replace(agents, push_tags=True), TAG)
    assert git(remote, "tag") == TAG


def test_a_remote_that_is_down_does_not_spoil_the_backup(
    context: Make, agents: Manifest, checkout: Path, said: Words
) -> None:
    git(checkout, "remote", "add", "origin", str(checkout.parent / "gone.git"))
    pushing = replace(agents, push_tags=True)
    assert backup.check(pushing, back_up(context, pushing, TAG)) == []
    assert "warning: the tag could not be pushed, and is kept here only" in str(said)


def test_a_backup_that_cannot_be_read_back_is_not_trusted(mine: Context, agents: Manifest) -> None:
    carry(mine, *PROCEDURE.steps[:6])
    (spoiled,) = (agents.backups / TAG / "artifacts/objects").iterdir()
    spoiled.unlink()
    with pytest.raises(StepFailed, match=r"cannot be trusted: artifacts/history.txt: .*\.gz is missing"):
        PROCEDURE.step("verify").apply(mine)


def test_what_a_killed_one_was_writing_is_not_sealed_in(mine: Context, agents: Manifest) -> None:
    carry(mine, *PROCEDURE.steps[:5])
    part = backup.part(agents, TAG)
    (part / ".restore.sh.k3j").write_text("half of it")
    (part / ".artifacts.partial/new/objects").mkdir(parents=True)
    (part / "secrets/..env.k3j").write_text("API_TOK")
    carry(mine, PROCEDURE.step("files"), *PROCEDURE.steps[4:])
    held = {str(path.relative_to(agents.backups / TAG)) for path in (agents.backups / TAG).rglob("*")}
    assert not {name for name in held if "k3j" in name or "partial" in name}
    assert held >= {"restore.sh", "secrets/.env", "artifacts/listing.jsonl"}


def test_a_configuration_file_that_is_called_like_our_list_is_hashed_too(context: Make, agents: Manifest) -> None:
    (agents.root / "manifest.json").write_text("{}")
    of = replace(agents, config=("manifest.json",))
    point = back_up(context, of, TAG)
    kept = agents.backups / TAG / "config/manifest.json"
    kept.write_text("[]")
    assert backup.check(of, point) == [f"{kept} has changed since the restore point was made"]


def test_one_that_somebody_deployed_into_is_not_trusted(mine: Context, agents: Manifest, checkout: Path) -> None:
    """The tag would name one commit, and the configuration be that of another."""
    carry(mine, *PROCEDURE.steps[:2])
    commit(checkout, "Release 3", config__agents_json='{"model": "large"}')
    carry(mine, *PROCEDURE.steps[2:6])
    with pytest.raises(StepFailed, match=r"Somebody deployed while the backup was made: .* Ask for another one"):
        PROCEDURE.step("verify").apply(mine)


@pytest.mark.parametrize("name", ["config/agents.json", ".env"])
def test_one_whose_configuration_was_edited_meanwhile_is_not_trusted(
    mine: Context, agents: Manifest, checkout: Path, name: str
) -> None:
    """The commit is the same; the file is not: the point would bring back what never ran together."""
    carry(mine, *PROCEDURE.steps[:6])
    (checkout / name).write_text("{}")
    with pytest.raises(StepFailed, match=f"{name} changed while the backup was made: .* Ask for another one"):
        PROCEDURE.step("verify").apply(mine)


def test_a_root_that_is_no_checkout_gets_no_backup(agents: Manifest, tmp_path: Path) -> None:
    with pytest.raises(CannotPlan, match="does not exist"):
        backup.plan(replace(agents, root=tmp_path / "gone"), Request(TAG))


def test_a_system_without_configuration_and_artifacts_has_a_backup_too(
    context: Make, agents: Manifest, said: Words
) -> None:
    bare = replace(agents, config=(), secrets=(), artifacts=("nowhere",))
    assert backup.check(bare, back_up(context, bare, TAG)) == []
    assert "no artifacts" in str(said)


def test_a_link_that_leads_out_of_the_root_is_refused(context: Make, agents: Manifest, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/app.json").write_text("{}")
    (agents.root / "outside").symlink_to(tmp_path / "elsewhere")
    mine = context(replace(agents, config=("outside/app.json",)), goal={"tag": TAG, "message": ""})
    with pytest.raises(ToolError, match="through a link"):
        carry(mine, *PROCEDURE.steps)
