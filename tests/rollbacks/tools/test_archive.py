"""Archives are whole or not there."""

from __future__ import annotations

import io
import os
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
    archive.pack(path, root, ["notes.txt", "artifacts"])
    return path


def test_there_and_back(root: Path, tmp_path: Path) -> None:
    path = packed(root)
    names = ["artifacts", "artifacts/deep", "artifacts/deep/model.bin", "artifacts/latest", "artifacts/run.sh"]
    assert archive.members(path) == [*names, "notes.txt"]
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


def test_pipes_are_left_out_and_a_linked_directory_is_packed_with_its_content(root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "artifacts/pipe")
    (root / "artifacts").rename(tmp_path / "elsewhere")
    (root / "artifacts").symlink_to(tmp_path / "elsewhere")
    assert "artifacts/pipe" not in archive.members(packed(root))
    assert "artifacts/deep/model.bin" in archive.members(packed(root))


def test_a_link_that_could_not_be_unpacked_is_refused_when_it_is_packed(root: Path) -> None:
    path = packed(root)
    before = path.read_bytes()
    (root / "artifacts/out").symlink_to("/etc/passwd")
    with pytest.raises(archive.ArchiveError, match=r"artifacts/out.*No archive was made"):
        packed(root)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["missing", "../root", "/etc", "-x"])
def test_a_name_that_is_not_in_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(archive.ArchiveError, match="No archive was made"):
        archive.pack(root.parent / "a.tar.gz", root, [name])
    assert [each.name for each in root.parent.iterdir()] == ["root"]


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
    for look in (archive.check, archive.members):
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
    with pytest.raises(archive.ArchiveError, match="not safe"):
        archive.check(path)
    assert list((tmp_path / "deep").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["deep", "evil.tar.gz"]
    assert not Path("/evil").exists()


def test_modes_that_give_others_too_much_are_not_unpacked(root: Path, tmp_path: Path) -> None:
    (root / "artifacts/run.sh").chmod(0o4777)
    archive.unpack(packed(root), tmp_path / "out")
    assert (tmp_path / "out/artifacts/run.sh").stat().st_mode & 0o7777 == 0o755
