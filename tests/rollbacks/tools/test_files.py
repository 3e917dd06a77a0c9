"""A write is whole and on disk, or did not happen."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from rollbacks.tools import ToolError, files


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "-rf", "a\0b", "out/x"])
def test_unsafe_paths(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path)
    with pytest.raises(files.UnsafePath):
        files.inside(tmp_path / "root", name)


def test_safe_paths(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    for name in ("a", "config/app.json", ".env", "a..b"):
        assert files.inside(tmp_path / "root", name) == tmp_path / "root" / name


def test_write_keeps_mode_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "app.json"
    files.write(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    files.write(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o640)
    files.write(path, b"three", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_write_keeps_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "app.json"
    path.touch()
    os.chown(path, 1234, 1234)
    files.write(path, b"x")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)


def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "app.json"
    files.write(path, b"one")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_copy_and_hashes(tmp_path: Path) -> None:
    source = tmp_path / "run.sh"
    source.write_bytes(b"#!/bin/sh\n")
    source.chmod(0o755)
    files.copy(source, tmp_path / "copy.sh")
    files.sync(tmp_path)
    assert os.access(tmp_path / "copy.sh", os.X_OK)
    expected = hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    assert files.sha256(tmp_path / "copy.sh") == files.digest(b"#!/bin/sh\n") == files.digest("#!/bin/sh\n") == expected


def test_what_lies_ready_is_put_in_place_as_a_whole(tmp_path: Path) -> None:
    source, live, ready = tmp_path / "source", tmp_path / "live", tmp_path / "ready"
    source.write_bytes(b"new")
    source.chmod(0o600)
    live.write_bytes(b"old")
    files.copy(source, ready, like=live)
    assert live.read_bytes() == b"old"
    files.put(ready, live)
    assert (live.read_bytes(), live.stat().st_mode & 0o777, ready.exists()) == (b"new", 0o600, False)


def test_what_lies_ready_on_another_disk_is_copied(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        ready = Path(other) / "ready"
        ready.write_bytes(b"new")
        ready.chmod(0o640)
        files.put(ready, tmp_path / "live")
    assert ((tmp_path / "live").read_bytes(), (tmp_path / "live").stat().st_mode & 0o777) == (b"new", 0o640)


def test_renames_that_are_synced_later_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    with files.synced_later():
        files.sync_directory(tmp_path / "nowhere")  # it is not even opened
    with pytest.raises(FileNotFoundError):
        files.sync_directory(tmp_path / "nowhere")


def test_bytes(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x" * 1000)
    (tmp_path / "a/link").symlink_to("b/file")
    (tmp_path / "a/broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a/pipe")
    assert files.tree_bytes(tmp_path / "a") == files.tree_bytes(tmp_path / "a/b/file") == 1000
    assert files.tree_bytes(tmp_path / "none") == 0
    assert files.free_bytes(tmp_path / "not/yet/there") > 0


def test_a_move_never_overwrites(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    with pytest.raises(ToolError, match=r"something is there already\. It was left as it is"):
        files.move(tmp_path / "one", tmp_path / "two")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ToolError, match="something is there already"):
        files.move(tmp_path / "one", tmp_path / "dangling")
    assert ((tmp_path / "one").read_text(), (tmp_path / "two").read_text()) == ("one", "two")
    files.move(tmp_path / "one", tmp_path / "new/folder/one")
    assert (tmp_path / "new/folder/one").read_text() == "one"


def test_what_cannot_be_moved_is_said_and_stays(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"none cannot be moved to .*It was left as it is\."):
        files.move(tmp_path / "none", tmp_path / "one")


def test_what_is_set_aside_gets_a_name_that_is_free(tmp_path: Path) -> None:
    for content in ("first", "second", "third"):
        (tmp_path / "a.log").write_text(content)
        files.set_aside(tmp_path / "a.log", tmp_path / "aside/a.log")
    kept = {path.name: path.read_text() for path in (tmp_path / "aside").iterdir()}
    assert kept == {"a.log": "first", "a.log.1": "second", "a.log.2": "third"}
    assert not (tmp_path / "a.log").exists()


def test_a_link_is_set_aside_and_removed_as_itself(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/data").write_text("kept")
    (tmp_path / "link").symlink_to("volume")
    files.set_aside(tmp_path / "link", tmp_path / "aside")
    assert os.readlink(tmp_path / "aside") == "volume"
    files.remove(tmp_path / "aside")
    assert (tmp_path / "volume/data").read_text() == "kept"
    files.remove(tmp_path / "volume")
    files.remove(tmp_path / "volume")
    assert list(tmp_path.iterdir()) == []
