"""A write is whole and on disk, or did not happen."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from rollbacks.tools import files


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


def test_bytes(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x" * 1000)
    (tmp_path / "a/link").symlink_to("b/file")
    (tmp_path / "a/broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a/pipe")
    assert files.tree_bytes(tmp_path / "a") == files.tree_bytes(tmp_path / "a/b/file") == 1000
    assert files.tree_bytes(tmp_path / "none") == 0
    assert files.free_bytes(tmp_path / "not/yet/there") > 0
