"""restore.sh, run as a person runs it in the night when the portal is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portal.supervision import wait_until
from rollbacks.procedures.base import Context
from rollbacks.tools import files, manifest
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import as_archive, back_up
from tests.rollbacks.procedures.serving import Served, picture
from tests.rollbacks.tools.test_environment import wheel

TAG = "backup-20260301-110000"
Make = Callable[..., Context]


def restore(of: Manifest, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Nothing but PATH is known to it: no HOME, no identity for git."""
    place = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ["/bin/bash", str(of.backups / TAG / "restore.sh"), *words]
    return subprocess.run(script, capture_output=True, text=True, env=place, cwd=cwd or "/", check=False)


@pytest.fixture
def backed_up(context: Make, agents: Manifest, checkout: Path) -> Manifest:
    """Backed up, and gone on since: another commit, an edit, another secret, other artifacts."""
    back_up(context, agents, TAG)
    commit(checkout, "Worse", app_py="VERSION = 3\n", new_py="NEW = True\n")
    (checkout / "app.py").write_text("VERSION = 4\n")
    (checkout / "note.txt").write_text("left by somebody\n")
    (checkout / "config/agents.json").write_text('{"model": "edited"}')
    (checkout / ".env").write_text("API_TOKEN=of-today\n")
    (checkout / "artifacts/history.txt").write_text("two\n")
    (checkout / "artifacts/new.txt").write_text("three\n")
    return agents


def test_it_brings_everything_back(backed_up: Manifest, checkout: Path) -> None:
    done = restore(backed_up)
    assert done.returncode == 0, done.stderr
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", f"{TAG}^{{commit}}")
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert not (checkout / "new.py").exists()
    assert "small" in (checkout / "config/agents.json").read_text()
    assert (checkout / ".env").read_text() == "API_TOKEN=super-secret-token\n"
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert not (checkout / "artifacts/new.txt").exists()
    assert done.stdout.splitlines()[-1].startswith(f"Done: agents is at {TAG}. What was there before is in git stash")


def test_nothing_of_what_was_there_is_lost(backed_up: Manifest, checkout: Path) -> None:
    done = restore(backed_up)
    (aside,) = (checkout / ".rollback").glob("by-hand-*")
    assert str(aside) in done.stdout
    assert (aside / "secrets/.env").read_text() == "API_TOKEN=of-today\n"
    assert (aside / "artifacts/history.txt").read_text() == "two\n"
    assert (aside / "artifacts/new.txt").read_text() == "three\n"
    assert git(checkout, "show", "stash@{0}:app.py") == "VERSION = 4"
    assert git(checkout, "show", "stash@{0}:config/agents.json") == '{"model": "edited"}'
    assert git(checkout, "show", "stash@{0}^3:note.txt") == "left by somebody"
    assert git(checkout, "log", "-1", "--format=%s", "main") == "Worse"


def test_code_only_leaves_the_artifacts_as_they_are(backed_up: Manifest, checkout: Path) -> None:
    done = restore(backed_up, "--code-only")
    assert done.returncode == 0, done.stderr
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert (checkout / ".env").read_text() == "API_TOKEN=super-secret-token\n"
    assert (checkout / "artifacts/history.txt").read_text() == "two\n"
    assert (checkout / "artifacts/new.txt").exists()
    assert "artifacts in" not in done.stdout


def test_what_git_neither_ignores_nor_tracks_of_logs_and_artifacts_stays_with_code_only(
    context: Make, agents: Manifest, checkout: Path
) -> None:
    (checkout / ".gitignore").write_text(".env\n")
    git(checkout, "commit", "-qam", "Ignore less")
    (checkout / "logs/app.log").write_text("a line\n")
    (checkout / ".venv").symlink_to("/usr")
    back_up(context, agents, TAG)
    (checkout / "app.py").write_text("VERSION = 4\n")
    assert restore(agents, "--code-only").returncode == 0
    assert (checkout / "logs/app.log").read_text() == "a line\n"
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert (checkout / ".venv").is_symlink()


def test_check_only_reads(backed_up: Manifest, checkout: Path) -> None:
    before = picture(checkout)
    done = restore(backed_up, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == ["   7 files, every hash is right", "   and the artifacts"]
    assert picture(checkout) == before


@pytest.mark.parametrize("words", [[], ["--check"], ["--code-only"]])
def test_a_changed_byte_ends_it_before_anything_is_changed(
    backed_up: Manifest, checkout: Path, words: list[str]
) -> None:
    (kept,) = (backed_up.backups / TAG / "artifacts/objects").iterdir()
    kept.chmod(0o600)
    kept.write_bytes(kept.read_bytes().replace(b"one", b"two"))
    before = picture(checkout)
    done = restore(backed_up, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Broken: object {kept.name.removesuffix('.gz')}: ")
    assert done.stderr.endswith("Nothing live was changed.\n")
    assert picture(checkout) == before
    assert not list((checkout / ".rollback").glob("by-hand-*"))


def test_another_checkout_is_named_as_root(backed_up: Manifest, checkout: Path, tmp_path: Path) -> None:
    """The disk is gone, and this is a fresh clone; named as one types it, relative."""
    subprocess.run(["git", "clone", "-q", str(checkout), str(tmp_path / "fresh")], check=True)
    before = picture(checkout)
    done = restore(backed_up, "fresh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fresh = tmp_path / "fresh"
    assert (fresh / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert (fresh / ".env").read_text() == "API_TOKEN=super-secret-token\n"
    assert (fresh / "artifacts/history.txt").read_text() == "one\n"
    assert (fresh / "logs").is_dir()
    assert picture(checkout) == before


@pytest.mark.parametrize("is_there", [True, False])
def test_where_nothing_is_the_history_comes_from_beside_the_restore_points(
    backed_up: Manifest, checkout: Path, tmp_path: Path, is_there: bool
) -> None:
    empty = tmp_path / "empty"
    if is_there:
        empty.mkdir()
    before = picture(checkout)
    done = restore(backed_up, str(empty))
    assert done.returncode == 0, done.stderr
    assert git(empty, "rev-parse", "HEAD") == git(checkout, "rev-parse", f"{TAG}^{{commit}}")
    assert git(empty, "status", "--porcelain", "--untracked-files=no") == ""
    assert (empty / ".env").read_text() == "API_TOKEN=super-secret-token\n"
    assert (empty / "artifacts/history.txt").read_text() == "one\n"
    assert picture(checkout) == before


def test_a_root_that_is_no_checkout_is_left_alone(backed_up: Manifest, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "somebody's").touch()
    done = restore(backed_up, str(plain))
    assert (done.returncode, list(plain.iterdir())) == (1, [plain / "somebody's"])
    assert (
        done.stderr
        == f"{plain} is no git checkout. Nothing was changed. Clone the system there, then run this again.\n"
    )


def test_a_tag_that_is_not_there_is_fetched_or_said(backed_up: Manifest, checkout: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    subprocess.run(["git", "clone", "-q", "--no-tags", str(checkout), str(fresh)], check=True)
    assert restore(backed_up, str(fresh)).returncode == 0
    git(fresh, "tag", "--delete", TAG)
    git(fresh, "remote", "remove", "origin")
    git(backed_up.backups / "repository.git", "tag", "--delete", TAG)
    before = picture(fresh)
    done = restore(backed_up, str(fresh))
    assert done.returncode == 1
    assert f"The tag {TAG} is not in {fresh}. Nothing was changed. Fetch it" in done.stderr
    assert picture(fresh) == before


def test_a_shallow_clone_comes_back_where_nothing_stands_and_where_its_tag_is_gone(
    context: Make, agents: Manifest, checkout: Path, tmp_path: Path
) -> None:
    kept = checkout.rename(checkout.with_name("whole"))
    for place in (checkout, tmp_path / "fresh"):
        git(tmp_path, "clone", "-q", "--depth", "1", f"file://{kept}", str(place))
        commit(place, "A fix by hand", app_py="VERSION = 3\n")
    back_up(context, agents, TAG)
    for place in (tmp_path / "nothing", tmp_path / "fresh"):
        done = restore(agents, str(place))
        assert done.returncode == 0, done.stderr
        assert git(place, "rev-parse", "HEAD") == git(checkout, "rev-parse", "HEAD")
        assert (place / "app.py").read_text() == "VERSION = 3\n"
        git(place, "fsck")


def test_a_wrong_option_changes_nothing(backed_up: Manifest, checkout: Path) -> None:
    before = picture(checkout)
    done = restore(backed_up, "--force")
    assert (done.returncode, done.stderr) == (2, "unknown option --force: see --help\n")
    assert picture(checkout) == before
    helped = restore(backed_up, "--help").stdout.splitlines()
    assert (helped[0][:8], helped[-1]) == ("# Brings", "# health.")
    assert any("--code-only" in line for line in helped)


def test_an_environment_is_rebuilt_beside_and_the_old_one_is_set_aside(
    context: Make, agents: Manifest, checkout: Path, tmp_path: Path
) -> None:
    """The freeze names a package by its file: nothing has to be fetched."""
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    back_up(context, agents, TAG)
    place = agents.backups / TAG
    frozen = place / "requirements.backup.txt"
    frozen.write_text(f"tool @ file://{tmp_path / wheel(tmp_path, 'tool', '1.0')}\n")
    listing = place / "manifest.json"
    listing.write_text(listing.read_text().replace(files.digest(b""), files.digest(frozen.read_bytes())))
    done = restore(agents)
    assert done.returncode == 0, done.stderr
    (aside,) = (checkout / ".rollback").glob("by-hand-*")
    assert venv.resolve() == aside / "environment"
    assert (aside / "environment-as-found/bin/python").exists()
    says = [str(venv / "bin/python"), "-c", "import tool; print(tool.version)"]
    assert subprocess.run(says, capture_output=True, text=True, check=True).stdout == "1.0\n"


def test_the_service_is_stopped_started_and_asked_for_its_health(context: Make, served: Served, checkout: Path) -> None:
    git(checkout, "checkout", "-q", "v1")
    of = manifest.parse(served.manifest())
    back_up(context, of, TAG)
    git(checkout, "checkout", "-q", "main")
    old = served.start()
    assert not served.is_healthy()
    done = restore(of)
    assert done.returncode == 0, done.stderr
    assert "   healthy: 200" in done.stdout
    assert served.is_healthy()
    assert served.pid != old


def test_whatever_goes_wrong_the_service_is_started_again(context: Make, served: Served, checkout: Path) -> None:
    of = manifest.parse(served.manifest())
    back_up(context, of, TAG)
    served.start()
    (checkout / ".git/index.lock").touch()  # git refuses everything
    (checkout / "app.py").touch()
    before = picture(checkout)
    done = restore(of)
    assert done.returncode != 0
    assert "Not restored. agents is started again" in done.stderr
    assert wait_until(served.answers, 10)
    assert picture(checkout) == before


def test_a_service_that_cannot_be_stopped_from_here_is_said_before_anything(
    context: Make, served: Served, checkout: Path, tmp_path: Path
) -> None:
    """supervisorctl is often in an environment of its own, which is on nobody's PATH."""
    back_up(context, manifest.parse(served.manifest()), TAG)
    served.start()
    for name in ("bash", "dirname", "git", "python3", "tar"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    before, pid = picture(checkout), served.pid
    script = str(manifest.parse(served.manifest()).backups / TAG / "restore.sh")
    done = subprocess.run(
        ["/bin/bash", script], capture_output=True, text=True, env={"PATH": str(tmp_path / "bin")}, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "supervisorctl is not on the PATH, and this needs it. Nothing was changed. Install it, or add its directory: "
        f"PATH=/where/it/is:$PATH {script}\n"
    )
    assert (picture(checkout), served.pid) == (before, pid)


def test_an_archive_is_unpacked_too(context: Make, backed_up: Manifest, checkout: Path) -> None:
    """Older restore points, and those that were made by hand, have one."""
    as_archive(backed_up, TAG)
    done = restore(backed_up)
    assert done.returncode == 0, done.stderr
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert not (checkout / "artifacts/new.txt").exists()
    (aside,) = (checkout / ".rollback").glob("by-hand-*")
    assert (aside / "artifacts/new.txt").read_text() == "three\n"


def test_artifacts_that_cannot_be_unpacked_are_noticed_before_the_service_is_stopped(
    context: Make, served: Served, checkout: Path
) -> None:
    of = manifest.parse(served.manifest())
    back_up(context, of, TAG)
    as_archive(of, TAG, lambda archive: archive.write_bytes(archive.read_bytes()[:-20]))
    served.start()
    before, pid = picture(checkout), served.pid
    done = restore(of)
    assert done.returncode != 0
    assert "Stopping" not in done.stdout
    assert (picture(checkout), served.pid) == (before, pid)


def test_a_link_to_artifacts_becomes_a_directory_and_what_it_led_to_is_not_touched(
    backed_up: Manifest, checkout: Path, tmp_path: Path
) -> None:
    (checkout / "artifacts").rename(tmp_path / "volume")
    (checkout / "artifacts").symlink_to(tmp_path / "volume")
    done = restore(backed_up)
    assert done.returncode == 0, done.stderr
    assert f"artifacts was a link to {tmp_path}/volume, and is no link any more" in done.stdout
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert (tmp_path / "volume/history.txt").read_text() == "two\n"
    (aside,) = (checkout / ".rollback").glob("by-hand-*")
    assert (aside / "artifacts").readlink() == tmp_path / "volume"


def test_a_restore_point_can_be_moved_to_another_host(backed_up: Manifest, checkout: Path, tmp_path: Path) -> None:
    shutil.move(backed_up.backups, tmp_path / "rescued")
    moved = replace(backed_up, backups=tmp_path / "rescued")
    assert restore(moved).returncode == 0
    assert (checkout / ".env").read_text() == "API_TOKEN=super-secret-token\n"
