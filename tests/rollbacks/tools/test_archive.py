"""Archives, as the guide's own line makes them, are unpacked whole or not at all."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from rollbacks.tools import archive


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/artifacts/deep").mkdir(parents=True)
    (tmp_path / "root/artifacts/deep/model.bin").write_bytes(os.urandom(300_000))
    script = tmp_path / "root/artifacts/run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (tmp_path / "root/artifacts/latest").symlink_to("deep/model.bin")
    (tmp_path / "root/notes.txt").write_text("notes")
    return tmp_path / "root"


def packed(root: Path) -> Path:
    path = root.parent / "artifacts.tar.gz"
    subprocess.run(["tar", "-C", str(root), "-czf", str(path), "artifacts/", "notes.txt"], check=True)
    return path


def test_there_and_back(root: Path, tmp_path: Path) -> None:
    path = packed(root)
    found = archive.sizes(path)
    assert set(found) == {
        "artifacts",
        *(f"artifacts/{name}" for name in ("deep", "deep/model.bin", "latest", "run.sh")),
        "notes.txt",
    }
    assert (found["artifacts/deep/model.bin"], found["notes.txt"], found["artifacts"]) == (300_000, 5, 0)
    archive.check(path)
    archive.unpack(path, tmp_path / "out")
    model = "artifacts/deep/model.bin"
    assert (tmp_path / "out" / model).read_bytes() == (root / model).read_bytes()
    assert (tmp_path / "out/artifacts/latest").readlink() == Path("deep/model.bin")
    assert os.access(tmp_path / "out/artifacts/run.sh", os.X_OK)


def test_unpacking_again_replaces_what_is_there(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").touch()
    archive.unpack(packed(root), tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["artifacts", "notes.txt"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["artifacts.tar.gz", "out", "root"]


def test_what_is_not_asked_for_is_not_unpacked(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "artifacts.tar.gz"
    (root / "artifacts-old").mkdir()
    subprocess.run(["tar", "-C", str(root), "-czf", str(path), "."], check=True)
    archive.unpack(path, tmp_path / "out", names=["artifacts"])
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["artifacts"]
    assert (tmp_path / "out/artifacts/deep/model.bin").stat().st_size == 300_000


def test_owners_come_back_when_root_unpacks(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "artifacts.tar.gz"
    words = ["tar", "-C", str(root), "--owner=1234", "--group=4321", "-czf", str(path), "artifacts"]
    subprocess.run(words, check=True)
    archive.unpack(path, tmp_path / "out")
    status = (tmp_path / "out/artifacts/run.sh").stat()
    theirs = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    assert (status.st_uid, status.st_gid) == theirs


def test_what_is_there_stays_when_the_new_one_cannot_take_its_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(16, "Device or resource busy")
        return real(self, target)

    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    path = packed(root)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="busy"):
        archive.unpack(path, tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["artifacts.tar.gz", "out", "root"]


@pytest.mark.parametrize("keep", [0, 10, 1000, -20, -4])
def test_a_torn_archive_is_found(root: Path, tmp_path: Path, keep: int) -> None:
    path = packed(root)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(archive.ArchiveError, match="cannot be read to its end"):
        archive.check(path)
    with pytest.raises(archive.ArchiveError):
        archive.unpack(path, tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["artifacts.tar.gz", "root"]


def test_a_changed_byte_is_found(root: Path) -> None:
    path = packed(root)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(archive.ArchiveError):
        archive.check(path)


def test_no_archive_at_all(tmp_path: Path) -> None:
    for look in (archive.check, archive.sizes):
        with pytest.raises(archive.ArchiveError):
            look(tmp_path / "none.tar.gz")


def entry(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, to
    return made


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
UNSAFE = {
    "a name that leads out": [entry("../evil")],
    "an absolute name": [entry("/evil")],
    "a name that leads out by and by": [entry("a/../../evil")],
    "a link that leads out": [entry("a/out", LINK, "../../evil")],
    "an absolute link": [entry("out", LINK, "/evil")],
    "a hard link that leads out": [entry("out", HARD, "../evil")],
    "a file behind a link": [
        entry("a/b/up", LINK, "../.."),
        entry("a/b/up/up", LINK, "../.."),
        entry("a/b/up/up/evil"),
    ],
    "a file in the place of a link": [
        entry("a/b/up", LINK, "../.."),
        entry("out", LINK, "a/b/up/../evil"),
        entry("out"),
    ],
    "a hard link behind a link": [entry("up", LINK, "a"), entry("out", HARD, "up/evil")],
    "a device": [entry("null", tarfile.CHRTYPE)],
}


@pytest.mark.parametrize("members", UNSAFE.values(), ids=UNSAFE.keys())
@pytest.mark.parametrize("has_filter", [True, False])
def test_an_unsafe_member_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[tarfile.TarInfo], has_filter: bool
) -> None:
    if not has_filter:  # Debian 12's Python 3.11.2 has none
        monkeypatch.setattr(archive, "FILTER", {})
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for member in (entry("good"), *members):
            made.addfile(member, io.BytesIO(b""))
    with pytest.raises(archive.ArchiveError, match="not safe"):
        archive.unpack(path, tmp_path / "deep/out")
    for look in (archive.check, archive.sizes):
        with pytest.raises(archive.ArchiveError, match="not safe"):
            look(path)
    assert list((tmp_path / "deep").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["deep", "evil.tar.gz"]
    assert not Path("/evil").exists()


def test_modes_that_give_others_too_much_are_not_unpacked(root: Path, tmp_path: Path) -> None:
    (root / "artifacts/run.sh").chmod(0o4777)
    archive.unpack(packed(root), tmp_path / "out")
    assert (tmp_path / "out/artifacts/run.sh").stat().st_mode & 0o7777 == 0o755
