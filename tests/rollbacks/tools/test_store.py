"""Kept trees are whole or not there, complete by themselves, and cost only what has changed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.tools import ToolError, guard, listing, store
from rollbacks.tools.listing import Entry

PROJECT = Path(__file__).resolve().parents[3]
ODD = os.fsdecode(b"artifacts/deep/caf\xe9 \xff\n.txt")  # no UTF-8, and a line break


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bit of everything, of which several files have the same content; files are settled, as most are."""
    root = tmp_path / "root"
    (root / "artifacts/deep/empty").mkdir(parents=True)
    (root / "artifacts/deep/model.bin").write_bytes(os.urandom(300_000))
    (root / "artifacts/runs.jsonl").write_text('{"run": 1, "answer": "fine"}\n' * 5000)
    (root / "artifacts/copy.jsonl").write_text('{"run": 1, "answer": "fine"}\n' * 5000)
    (root / "artifacts/nothing").touch()
    script = root / "artifacts/run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (root / ODD).write_text("odd")
    (root / "artifacts/latest").symlink_to("deep/model.bin")
    (root / "artifacts/dangling").symlink_to("../gone")
    (root / "notes.txt").write_text("notes")
    (root / "artifacts/deep").chmod(0o2750)
    if os.geteuid() == 0:  # only root gives files away
        os.chown(script, 1234, 4321)
        os.chown(root / "artifacts/latest", 1234, 4321, follow_symlinks=False)
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, ns=(1_700_000_000_123_456_789 + number,) * 2, follow_symlinks=False)
    return root


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once, not only after two seconds."""
    monkeypatch.setattr(store, "RECENT", 0.0)


def seen(root: Path, *names: str) -> dict[str, tuple[object, ...]]:
    """All that a person could tell two trees apart by."""
    return {
        str(path.relative_to(root)): looks(path) for name in names for path in [root / name, *root.glob(f"{name}/**/*")]
    }


def looks(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, content


def kept(root: Path, name: str = "kept", previous: str = "") -> Path:
    into = root.parent / name
    store.keep(root, ["notes.txt", "artifacts"], into, previous=root.parent / previous if previous else None)
    return into


def objects(tree: Path) -> set[str]:
    return {path.name.removesuffix(".gz") for path in (tree / "objects").iterdir()}


def object_of(tree: Path, path: str) -> Path:
    entry = next(each for each in listing.entries(tree) if each.path == path)
    return Path(listing.place(tree, entry.objects[0]))


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    """A file of its own in the place of the one that several trees may share."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(change(content))


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def by_hand(tree: Path, *target: Path) -> subprocess.CompletedProcess[str]:
    """The reader that restore.sh carries, with an interpreter that finds nothing but its standard library."""
    words = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-", str(tree), *map(str, target)]
    return subprocess.run(words, input=listing.READER, capture_output=True, text=True, env={"LC_ALL": "C"})


# --- there and back -------------------------------------------------------------------------------------------------


def test_there_and_back(root: Path, tmp_path: Path) -> None:
    tree = kept(root)
    assert store.check(tree) == []
    store.unpack(tree, tmp_path / "out")
    assert seen(tmp_path / "out", "artifacts", "notes.txt") == seen(root, "artifacts", "notes.txt")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "out", "root"]


def test_there_and_back_with_nothing_but_python(root: Path, tmp_path: Path) -> None:
    tree = kept(root)
    read_back = by_hand(tree)
    assert (read_back.returncode, read_back.stderr) == (0, "")
    unpacked = by_hand(tree, tmp_path / "out")
    assert (unpacked.returncode, unpacked.stderr) == (0, "")
    assert seen(tmp_path / "out", "artifacts", "notes.txt") == seen(root, "artifacts", "notes.txt")


def test_the_reader_is_short_and_fits_into_a_script() -> None:
    assert len(listing.READER.splitlines()) <= 40
    assert "PYTHON" not in listing.READER.splitlines()
    assert "'" not in listing.READER


def test_an_object_is_a_gzip_file_named_by_what_it_holds(root: Path) -> None:
    path = object_of(kept(root), "artifacts/runs.jsonl")
    content = subprocess.run(["gzip", "-dc", str(path)], check=True, capture_output=True).stdout
    assert content == (root / "artifacts/runs.jsonl").read_bytes()
    assert path.name == f"{hashlib.sha256(content).hexdigest()}.gz"
    assert path.stat().st_size < len(content) / 10


def test_what_does_not_shrink_is_stored_as_it_is_in_a_gzip_file_all_the_same(root: Path) -> None:
    path, content = object_of(kept(root), "artifacts/deep/model.bin"), (root / "artifacts/deep/model.bin").read_bytes()
    assert content[:1000] in path.read_bytes()
    assert path.stat().st_size < len(content) + 100
    assert gzip.decompress(path.read_bytes()) == content


def test_nobody_else_may_read_what_is_kept_and_nobody_change_it(root: Path) -> None:
    tree = kept(root)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tree, tree / "objects")} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tree.rglob("*") if path.is_file()} == {0o400}


def test_large_files_are_kept_in_pieces_of_which_only_the_changed_ones_are_new(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PIECE", 1000)
    before = kept(root)
    model = root / "artifacts/deep/model.bin"
    with model.open("r+b") as file:
        file.seek(4500)
        file.write(b"changed")
    with model.open("ab") as file:
        file.write(b"and more")
    after = kept(root, "after", "kept")
    assert len(objects(after) - objects(before)) == 2
    store.unpack(after, tmp_path / "out")
    assert (tmp_path / "out/artifacts/deep/model.bin").read_bytes() == model.read_bytes()


def test_without_its_fast_library_it_writes_and_reads_the_same_format(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = kept(root, "fast")
    monkeypatch.setattr(listing, "gzipping", zlib)
    slow = kept(root, "slow")
    assert objects(fast) == objects(slow)
    assert store.check(fast) == []
    monkeypatch.undo()
    assert listing.gzipping is not zlib
    assert store.check(slow) == []
    store.unpack(slow, tmp_path / "out")
    assert seen(tmp_path / "out", "artifacts") == seen(root, "artifacts")


def test_pipes_and_sockets_are_left_out_and_a_linked_directory_is_kept_with_its_content(
    root: Path, tmp_path: Path
) -> None:
    os.mkfifo(root / "artifacts/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "artifacts/socket"))
    (root / "artifacts").rename(tmp_path / "elsewhere")
    (root / "artifacts").symlink_to(tmp_path / "elsewhere")
    paths = {entry.path: entry.type for entry in listing.entries(kept(root))}
    assert paths["artifacts"] == "directory"
    assert "artifacts/deep/model.bin" in paths
    assert not {"artifacts/pipe", "artifacts/socket"} & set(paths)


def test_a_name_inside_another_is_kept_once(root: Path, tmp_path: Path) -> None:
    store.keep(root, ["artifacts/deep", "artifacts/", "artifacts"], tmp_path / "kept")
    paths = [entry.path for entry in listing.entries(tmp_path / "kept")]
    assert paths[0] == "artifacts"
    assert len(paths) == len(set(paths)) == 11


def test_a_name_deep_inside_root_is_unpacked_at_its_place(root: Path, tmp_path: Path) -> None:
    store.keep(root, ["artifacts/deep/model.bin"], tmp_path / "kept")
    store.unpack(tmp_path / "kept", tmp_path / "out")
    assert [str(path.relative_to(tmp_path / "out")) for path in sorted((tmp_path / "out").rglob("*"))] == [
        "artifacts",
        "artifacts/deep",
        "artifacts/deep/model.bin",
    ]


def test_owners_that_this_host_does_not_know_are_told(root: Path, tmp_path: Path) -> None:
    found = [replace(each, user="nobody-here", group="no-group-here") for each in listing.entries(kept(root))]
    tree = forged(tmp_path / "foreign", found, tmp_path / "kept")
    said: list[str] = []
    store.unpack(tree, tmp_path / "out", say=said.append)
    assert "nobody-here" in "".join(said)
    assert "no-group-here" in "".join(said)
    assert (tmp_path / "out/notes.txt").stat().st_uid == os.geteuid()
    assert by_hand(tree, tmp_path / "out2").returncode == 0


def forged(tree: Path, found: list[Entry], source: Path | None = None) -> Path:
    """A tree with any listing, and the objects of another."""
    (tree / "objects").mkdir(parents=True)
    for path in (source / "objects").iterdir() if source else ():
        shutil.copy2(path, tree / "objects")
    listing.write(tree, found)
    return tree


# --- again ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_neither_read_nor_stored_again(root: Path, tmp_path: Path) -> None:
    first = store.keep(root, ["artifacts"], tmp_path / "first")
    second = store.keep(root, ["artifacts"], tmp_path / "second", previous=tmp_path / "first")
    assert (first.files, first.read) == (6, 6)
    assert first.new_bytes == store.size(tmp_path / "second").bytes
    assert (second.files, second.bytes, second.read) == (6, first.bytes, 0)
    assert second.new_bytes == store.size(tmp_path / "second").own == (tmp_path / "second/listing.jsonl").stat().st_size
    store.unpack(tmp_path / "second", tmp_path / "out")
    assert seen(tmp_path / "out", "artifacts") == seen(root, "artifacts")


@pytest.mark.usefixtures("settled")
def test_only_what_has_changed_is_stored(root: Path, tmp_path: Path) -> None:
    first = kept(root, "first")
    (root / "artifacts/runs.jsonl").write_text("new")
    (root / "artifacts/deep/model.bin").rename(root / "artifacts/moved.bin")
    (root / "artifacts/run.sh").unlink()
    (root / "notes.txt").chmod(0o600)
    second = kept(root, "second", "first")
    assert objects(second) - objects(first) == {hashlib.sha256(b"new").hexdigest()}
    assert store.check(second) == []
    store.unpack(second, tmp_path / "out")
    assert seen(tmp_path / "out", "artifacts", "notes.txt") == seen(root, "artifacts", "notes.txt")


@pytest.mark.usefixtures("settled")
def test_a_change_that_hides_behind_the_same_size_and_time_is_found(root: Path) -> None:
    kept(root, "first")
    path = root / "artifacts/run.sh"
    before = path.stat()
    path.write_text("#!/bin/no\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = kept(root, "second", "first")
    assert listing.content(second, object_of(second, "artifacts/run.sh").name.removesuffix(".gz")) == b"#!/bin/no\n"


def test_a_file_that_was_written_just_now_is_looked_at_again(root: Path, tmp_path: Path) -> None:
    """It could change once more in the same tick of the clock, and nobody could tell."""
    kept(root, "first")
    second = store.keep(root, ["artifacts", "notes.txt"], tmp_path / "second", previous=tmp_path / "first")
    assert second.read == second.files == 7
    assert objects(tmp_path / "second") == objects(tmp_path / "first")
    assert second.new_bytes == (tmp_path / "second/listing.jsonl").stat().st_size


@pytest.mark.usefixtures("settled")
def test_each_tree_is_complete_without_the_others(root: Path, tmp_path: Path) -> None:
    shared = store.size(kept(root, "first"))
    second = kept(root, "second", "first")
    assert store.size(second).bytes == shared.bytes
    assert store.size(second).own == (second / "listing.jsonl").stat().st_size
    store.remove(tmp_path / "first")
    assert store.check(second) == []
    assert store.size(second).own == store.size(second).bytes
    shutil.copytree(second, tmp_path / "far/away")
    shutil.rmtree(second)
    assert by_hand(tmp_path / "far/away", tmp_path / "out").returncode == 0
    assert seen(tmp_path / "out", "artifacts") == seen(root, "artifacts")


@pytest.mark.usefixtures("settled")
def test_an_older_tree_that_vanishes_meanwhile_is_not_missed(root: Path, tmp_path: Path) -> None:
    first = kept(root, "first")
    shutil.rmtree(first / "objects")
    second = store.keep(root, ["artifacts"], tmp_path / "second", previous=first)
    assert second.read > 0
    assert store.check(tmp_path / "second") == []


@pytest.mark.usefixtures("settled")
def test_an_older_tree_on_another_file_system_is_not_shared(root: Path, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"store-{os.getpid()}"
    assert Path("/dev/shm").stat().st_dev != tmp_path.stat().st_dev
    try:
        store.keep(root, ["artifacts"], elsewhere)
        store.keep(root, ["artifacts"], tmp_path / "kept", previous=elsewhere)
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
    assert store.check(tmp_path / "kept") == []


@pytest.mark.usefixtures("settled")
def test_an_object_that_went_bad_is_not_carried_on_by_who_reads_the_file(root: Path) -> None:
    first = kept(root, "first")
    spoil(object_of(first, "artifacts/deep/model.bin"), flipped)
    assert len(store.check(kept(root, "trusting", "first"))) == 1
    os.utime(root / "artifacts/deep/model.bin")
    assert store.check(kept(root, "second", "first")) == []


def test_an_older_listing_that_is_torn_is_told_and_everything_read_anew(root: Path, tmp_path: Path) -> None:
    first = kept(root, "first")
    spoil(first / "listing.jsonl", lambda content: content[:-100])
    said: list[str] = []
    second = store.keep(root, ["artifacts"], tmp_path / "second", previous=first, say=said.append)
    assert second.read == second.files
    assert "first/listing.jsonl" in said[0]
    assert "read anew" in said[0]


# --- while the service runs on --------------------------------------------------------------------------------------


def test_what_vanishes_while_we_look_is_left_out(root: Path, tmp_path: Path) -> None:
    (tmp_path / "new/objects").mkdir(parents=True)
    with store.workers() as pool:
        keeping = store.Keeping(tmp_path / "new", None, pool, print)
        found = keeping.found(root, ["artifacts"])
        first = next(found)
        (root / "artifacts/latest").unlink()
        shutil.rmtree(root / "artifacts/deep")
        paths = [entry.path for entry in keeping.taken([first, *found])]
        gone = keeping.take(str(root / "artifacts/deep/model.bin"), "artifacts/deep/model.bin")
    assert gone is None
    assert paths == [
        f"artifacts{name}" for name in ("", "/copy.jsonl", "/dangling", "/nothing", "/run.sh", "/runs.jsonl")
    ]


def test_what_is_no_file_any_more_when_it_is_read_is_left_out(root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "artifacts/pipe")
    with store.workers() as pool:
        keeping = store.Keeping(tmp_path, None, pool, print)
        assert keeping.take(str(root / "artifacts/pipe"), "x") is None
        assert keeping.take(str(root / "artifacts/latest"), "x") is None
        assert keeping.take(str(root / "artifacts/deep"), "x") is None
    assert keeping.read == 0


@pytest.mark.usefixtures("settled")
def test_a_file_that_grows_is_kept_as_far_as_it_went_and_looked_at_again(root: Path, tmp_path: Path) -> None:
    path, ended = root / "artifacts/grows.log", threading.Event()
    path.write_bytes(b"x" * 20_000_000)

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not ended.is_set():
                file.write(b"more\n")

    writer = threading.Thread(target=grow)
    writer.start()
    said: list[str] = []
    try:
        store.keep(root, ["artifacts"], tmp_path / "kept", say=said.append)
    finally:
        ended.set()
        writer.join()
    assert "artifacts/grows.log" in "".join(said)
    assert store.check(tmp_path / "kept") == []
    store.unpack(tmp_path / "kept", tmp_path / "out")
    assert path.read_bytes().startswith((tmp_path / "out/artifacts/grows.log").read_bytes())
    again = store.keep(root, ["artifacts"], tmp_path / "again", previous=tmp_path / "kept")
    assert again.read == 1
    store.unpack(tmp_path / "again", tmp_path / "out")
    assert path.read_bytes() == (tmp_path / "out/artifacts/grows.log").read_bytes()


# --- whole or not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["missing", "../root", "/etc", "-x", "."])
def test_a_name_that_is_not_in_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(store.StoreError, match="No copy of them was made"):
        store.keep(root, [name], root.parent / "kept")
    assert [each.name for each in root.parent.iterdir()] == ["root"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "deep/../../../outside"])
def test_a_link_that_could_not_be_unpacked_is_refused_when_it_is_kept(root: Path, target: str) -> None:
    tree = kept(root)
    before = seen(tree.parent, "kept")
    (root / "artifacts/out").symlink_to(target)
    with pytest.raises(store.StoreError, match=r"artifacts/out is a link to .* leads out.*No copy of them was made"):
        kept(root)
    assert seen(tree.parent, "kept") == before
    assert sorted(each.name for each in root.parent.iterdir()) == ["kept", "root"]


KEEP = """
import sys
from pathlib import Path
from rollbacks.tools import store
try:
    store.keep(Path(sys.argv[1]), ["artifacts"], Path(sys.argv[2]))
except store.StoreError as error:
    sys.exit(str(error))
"""


def child(root: Path, into: Path) -> list[str]:
    return [sys.executable, "-c", KEEP, str(root), str(into)]


def begun(root: Path, into: Path) -> subprocess.Popen[str]:
    """Somebody who is at work on the tree."""
    for number in range(200):
        (root / f"artifacts/{number}.bin").write_bytes(os.urandom(200_000))
    somebody = subprocess.Popen(child(root, into), cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    objects, deadline = into.parent / f".{into.name}.partial/new/objects", time.monotonic() + 30
    while not objects.is_dir() or len(list(objects.iterdir())) < 3:
        assert somebody.poll() is None, "it was done before it could be seen at work"
        assert time.monotonic() < deadline
    somebody.send_signal(signal.SIGSTOP)
    assert objects.is_dir()
    return somebody


def test_one_who_is_killed_leaves_nothing_that_counts_and_the_next_one_clears_up(root: Path, tmp_path: Path) -> None:
    somebody = begun(root, tmp_path / "kept")
    somebody.kill()
    somebody.communicate()
    assert sorted(each.name for each in tmp_path.iterdir()) == [".kept.partial", "root"]
    tree = kept(root)
    assert store.check(tree) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "root"]


def test_two_at_once_do_not_spoil_each_others_tree(root: Path, tmp_path: Path) -> None:
    somebody = begun(root, tmp_path / "kept")
    try:
        with pytest.raises(store.StoreError, match=r"somebody else is at work in .*No copy of them was made"):
            kept(root)
    finally:
        somebody.send_signal(signal.SIGCONT)
    assert somebody.communicate(timeout=30)[1] == ""
    assert store.check(tmp_path / "kept") == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "root"]


def test_a_full_disk_is_told_and_nothing_is_left(root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=100k none "$1" && shift && "$@"; code=$?; ls -A "$DISK"; exit $code'
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run(
        [*own, "sh", "-c", mount, "sh", str(disk), *child(root, disk / "kept")],
        cwd=PROJECT,
        env={**os.environ, "DISK": str(disk)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert os.strerror(28) in done.stderr
    assert f"No copy of them was made; {root} is as it was." in done.stderr
    assert done.stdout == ""


def test_unpacking_again_replaces_what_is_there(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out/old").mkdir(parents=True)
    store.unpack(kept(root), tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["artifacts", "notes.txt"]
    store.unpack(tmp_path / "kept", tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "out", "root"]


def test_a_directory_that_may_not_be_written_to_comes_back_and_can_be_replaced(root: Path, tmp_path: Path) -> None:
    (root / "artifacts/deep").chmod(0o500)
    tree = kept(root)
    for _ in range(2):
        store.unpack(tree, tmp_path / "out")
        assert stat.S_IMODE((tmp_path / "out/artifacts/deep").stat().st_mode) == 0o500
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "out", "root"]


def test_what_is_not_asked_for_is_not_unpacked(root: Path, tmp_path: Path) -> None:
    (root / "artifacts-old").mkdir()
    store.keep(root, ["artifacts", "artifacts-old", "notes.txt"], tmp_path / "kept")
    store.unpack(tmp_path / "kept", tmp_path / "out", names=["artifacts"])
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["artifacts"]
    assert seen(tmp_path / "out", "artifacts") == seen(root, "artifacts")
    store.unpack(tmp_path / "kept", tmp_path / "out", names=[])
    assert list((tmp_path / "out").iterdir()) == []


def test_the_sizes_are_those_of_the_content(root: Path) -> None:
    told = store.sizes(kept(root))
    assert told == {
        path: len(looks[4]) if isinstance(looks[4], bytes) else 0
        for path, looks in seen(root, "artifacts", "notes.txt").items()
    }


def test_one_who_may_not_any_more_changes_nothing(root: Path, tmp_path: Path) -> None:
    """A worker that was slow, and whose run another one has taken over by now."""

    def no() -> None:
        raise ToolError("the run is another worker's")

    tree = kept(root)
    store.unpack(tree, tmp_path / "out")
    (root / "artifacts/run.sh").write_text("new")
    before = (seen(tree, "objects"), seen(tmp_path / "out", "artifacts"))
    with guard.asking(no):
        with pytest.raises(store.StoreError, match="another worker's"):
            kept(root)
        with pytest.raises(store.StoreError, match="another worker's"):
            store.unpack(tree, tmp_path / "out")
    assert (seen(tree, "objects"), seen(tmp_path / "out", "artifacts")) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "out", "root"]


def test_what_was_unpacked_can_be_discarded_also_half_of_it(root: Path, tmp_path: Path) -> None:
    store.unpack(kept(root), tmp_path / "out")
    (tmp_path / ".out.partial/new/deep").mkdir(parents=True)
    store.discard(tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "root"]
    store.discard(tmp_path / "out")


# --- what is wrong is found, in words, and never unpacked -----------------------------------------------------------

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "without its head": lambda content: content[1:],
    "half": lambda content: content[: len(content) // 2],
    "without its checksum": lambda content: content[:-8],
    "without its last byte": lambda content: content[:-1],
    "with another byte": flipped,
    "with more at its end": lambda content: content + b"x",
    "another content": lambda content: gzip.compress(b"another"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_object_that_is_broken_is_found_by_everybody(root: Path, tmp_path: Path, how: str) -> None:
    tree = kept(root)
    path = object_of(tree, "artifacts/deep/model.bin")
    spoil(path, BROKEN[how])
    assert len(wrong := store.check(tree)) == 1
    assert wrong[0].startswith(f"artifacts/deep/model.bin: {path} ")
    (tmp_path / "out/mine").mkdir(parents=True)
    with pytest.raises(store.StoreError, match=r"Nothing was unpacked; .*/out is as it was. Choose another"):
        store.unpack(tree, tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "out", "root"]
    for read_back in (by_hand(tree), by_hand(tree, tmp_path / "out2")):
        assert read_back.returncode == 1
        assert read_back.stderr.startswith(f"Broken: object {path.name.removesuffix('.gz')}")
        assert "Nothing live was changed" in read_back.stderr


def test_a_missing_object_is_found_without_reading(root: Path) -> None:
    tree = kept(root)
    path = object_of(tree, "artifacts/run.sh")
    path.unlink()
    assert store.check(tree, deep=False) == [f"artifacts/run.sh: {path} is missing"]
    assert store.check(tree) == store.check(tree, deep=False)
    assert "Broken" in by_hand(tree).stderr


@pytest.mark.parametrize("how", ["empty", "half", "without its checksum", "with more at its end"])
def test_what_was_left_short_is_found_without_reading(root: Path, how: str) -> None:
    """As a power cut or a full disk leaves it."""
    (root / "artifacts/long").write_bytes(os.urandom(listing.PIECE + 5))
    tree = kept(root)
    assert store.check(tree, deep=False) == []
    for number in (0, -1):
        entry = next(each for each in listing.entries(tree) if each.path == "artifacts/long")
        spoil(Path(listing.place(tree, entry.objects[number])), BROKEN[how])
    assert len(store.check(tree, deep=False)) == 2


@pytest.mark.usefixtures("settled")
def test_what_a_trusted_tree_shares_need_not_be_read_again(root: Path) -> None:
    first = kept(root, "first")
    (root / "artifacts/run.sh").write_text("new")
    second = kept(root, "second", "first")
    shared, own = object_of(second, "notes.txt"), object_of(second, "artifacts/run.sh")
    shared.chmod(0o600)
    shared.write_bytes(flipped(shared.read_bytes()))  # in both
    spoil(own, flipped)
    assert len(store.check(second)) == 2
    assert len(store.check(second, trusted=first)) == 1
    assert store.check(second, trusted=first)[0].startswith("artifacts/run.sh: ")
    assert store.check(second, deep=False) == []


def test_of_many_faults_a_few_are_named(root: Path) -> None:
    for number in range(20):
        (root / f"artifacts/{number:02d}").write_text(f"{number}")
    tree = kept(root)
    shutil.rmtree(tree / "objects")
    wrong = store.check(tree)
    assert len(wrong) == store.SHOWN + 1
    assert wrong[-1] == "and 20 more"


TORN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "without its last line": lambda content: content[: content.rstrip().rindex(b"\n") + 1],
    "without its last byte but one": lambda content: content[:-2],
    "without one entry": lambda content: b"".join(
        content.splitlines(keepends=True)[:3] + content.splitlines(keepends=True)[4:]
    ),
    "of a later format": lambda content: content.replace(b'"format": 1', b'"format": 2'),
    "no JSON": lambda content: b"\x00" * len(content),
}


@pytest.mark.parametrize("how", TORN)
def test_a_listing_that_is_torn_is_found_by_everybody(root: Path, tmp_path: Path, how: str) -> None:
    tree = kept(root)
    spoil(tree / "listing.jsonl", TORN[how])
    for deep in (True, False):
        assert len(store.check(tree, deep=deep)) == 1
        assert str(tree / "listing.jsonl") in store.check(tree, deep=deep)[0]
    with pytest.raises(store.StoreError, match="Nothing was unpacked"):
        store.unpack(tree, tmp_path / "out")
    assert by_hand(tree, tmp_path / "out").returncode == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "root"]


def test_no_tree_at_all(tmp_path: Path) -> None:
    assert len(store.check(tmp_path / "none")) == 1
    with pytest.raises(store.StoreError, match="cannot be told"):
        store.size(tmp_path / "none")
    with pytest.raises(store.StoreError, match="Nothing was unpacked"):
        store.unpack(tmp_path / "none", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def entry(path: str, kind: str = "file", target: str = "") -> Entry:
    return Entry(path, kind, 0o755, "root", "root", 1_700_000_000_000_000_000, target=target)


UNSAFE = {
    "an absolute path": [entry("/evil")],
    "a path upwards": [entry("../evil")],
    "a path upwards by a detour": [entry("a", "directory"), entry("a/../../evil")],
    "an empty path": [entry("", "directory")],
    "an absolute link": [entry("evil", "link", "/etc")],
    "a link upwards": [entry("a", "directory"), entry("a/evil", "link", "../../x")],
}


@pytest.mark.parametrize("how", UNSAFE)
def test_what_would_lead_out_is_refused_by_everybody_and_nothing_is_left(tmp_path: Path, how: str) -> None:
    tree = forged(tmp_path / "kept", [entry("good"), *UNSAFE[how]])
    assert len(store.check(tree, deep=False)) == 1
    with pytest.raises(store.StoreError, match=r"(leads out|no safe path).*Nothing was unpacked"):
        store.unpack(tree, tmp_path / "deep/out")
    assert list((tmp_path / "deep").iterdir()) == []
    for read_back in (by_hand(tree), by_hand(tree, tmp_path / "deep/out")):
        assert read_back.returncode == 1
        assert read_back.stderr.startswith("Unsafe: ")
    assert list((tmp_path / "deep").iterdir()) == []
    assert not Path("/evil").exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """Each link may be innocent by itself; the first leads where the second is not expected."""
    tricky = [entry("a", "directory"), entry("a/b", "link", ".."), entry("a/b/evil")]
    tree = forged(tmp_path / "kept", tricky)
    with pytest.raises(store.StoreError, match="Nothing was unpacked"):
        store.unpack(tree, tmp_path / "deep/out")
    assert list((tmp_path / "deep").iterdir()) == []
    assert by_hand(tree, tmp_path / "deep/out").returncode == 1
    assert not list(tmp_path.glob("deep/out/evil"))


@pytest.mark.parametrize("sha", ["../../secret", "", "A" * 64, "a" * 63])
def test_an_object_can_only_be_named_by_a_hash(tmp_path: Path, sha: str) -> None:
    tree = forged(tmp_path / "kept", [replace(entry("good"), objects=(sha,))])
    assert "not described as it should be" in store.check(tree)[0]


def test_a_path_that_is_no_text_can_be_told(root: Path) -> None:
    tree = kept(root)
    object_of(tree, ODD).unlink()
    (words,) = store.check(tree)
    assert words.encode().startswith(b"artifacts/deep/caf\\xe9 \\xff\n.txt: ")


def test_the_listing_can_be_read_by_a_person(root: Path) -> None:
    lines = [json.loads(line) for line in (kept(root) / "listing.jsonl").read_text().splitlines()]
    assert lines[0] == {"format": 1}
    assert lines[-1] == {"end": len(lines) - 2}
    script = next(line for line in lines if line.get("path") == "artifacts/run.sh")
    assert (script["type"], script["mode"], script["size"]) == ("file", "0755", 10)
    assert script["objects"] == [hashlib.sha256(b"#!/bin/sh\n").hexdigest()]
