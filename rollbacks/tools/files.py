"""Files: safe paths, hashes, and writes that are whole and on disk, or did not happen."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rollbacks.tools import ToolError, guard

CHUNK = 1024 * 1024
later: ContextVar[bool] = ContextVar("later", default=False)


class UnsafePath(ToolError):
    """A path that leaves its root, or could be taken for an option."""


def inside(root: Path, relative: str) -> Path:
    """root/relative. Raises UnsafePath for an absolute path, "..", a leading "-", or a symlink that leads out."""
    path = Path(relative)
    if not relative or "\x00" in relative or relative.startswith("-") or path.is_absolute() or ".." in path.parts:
        raise UnsafePath(f"{relative!r} is not a safe path: name it relative to {root}, without “..” or a leading “-”.")
    joined = root / path
    if not joined.parent.resolve().is_relative_to(root.resolve()):
        raise UnsafePath(f"{relative!r} leads out of {root} through a link.")
    return joined


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def write(path: Path, content: bytes, mode: int | None = None, like: Path | None = None) -> None:
    """Replace the file's content as a whole, on disk when this returns. An existing file's mode and owner stay; of
    another one (`like`), when that is named."""
    guard.ask()
    kept = like or path
    before = kept.stat() if kept.exists() else None
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            keep_owner(file.fileno(), before, mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def keep_owner(number: int, before: os.stat_result | None, mode: int | None) -> None:
    wanted = mode if mode is not None else (before.st_mode & 0o7777 if before else 0o644)
    os.fchmod(number, wanted)
    if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
        os.fchown(number, before.st_uid, before.st_gid)


def make_folder(path: Path) -> None:
    """The folder with all above it, where there is none yet."""
    guard.ask()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextmanager
def synced_later() -> Iterator[None]:
    """Inside, no rename waits for the disk, which may be busy for seconds: who asks for this calls sync() in the end.
    A file system keeps the order of renames, so a power cut takes the last of them and none in between."""
    before = later.set(True)
    try:
        yield
    finally:
        later.reset(before)


def sync_directory(path: Path) -> None:
    if later.get():
        return
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def copy(source: Path, target: Path, like: Path | None = None) -> None:
    """A whole copy, on disk when this returns, with the source's mode (and the owner of `like`)."""
    write(target, source.read_bytes(), source.stat().st_mode & 0o7777, like)


def put(ready: Path, target: Path) -> None:
    """A file that is on disk already, in the place of what is there: by renaming, unless it is on another disk."""
    guard.ask()
    try:
        ready.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(ready, target)
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """A file, a link (not what it names), or a directory with all in it, also where its owner may not write."""
    if path.is_dir() and not path.is_symlink():
        for folder, names, _ in os.walk(path):
            for inner in (os.path.join(folder, name) for name in names):
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def reserve(path: Path, size: int) -> None:
    """A file that keeps so many bytes of the disk free for us, until it is removed. Raises OSError where there is no
    room."""
    guard.ask()
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def move(source: Path, target: Path) -> None:
    """Rename, on disk when this returns. Both have to be on one file system, and nothing may be at the target."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if target.exists() or target.is_symlink():
        raise ToolError(f"{source} cannot be moved to {target}: something is there already. It was left as it is.")
    try:
        source.rename(target)
    except OSError as error:
        raise ToolError(f"{source} cannot be moved to {target}: {error}. It was left as it is.") from error
    sync_directory(target.parent)
    sync_directory(source.parent)


def set_aside(path: Path, aside: Path) -> None:
    """Move something out of the way, under a name that is free: what is there is never overwritten."""
    free, number = aside, 1
    while os.path.lexists(free):
        free, number = aside.with_name(f"{aside.name}.{number}"), number + 1
    move(path, free)


def same(one: Path, other: Path) -> bool:
    """The same content and mode."""
    return (
        one.is_file()
        and other.is_file()
        and one.stat().st_mode == other.stat().st_mode
        and sha256(one) == sha256(other)
    )


def sync(path: Path) -> None:
    """Everything written to the file system that holds `path` is on disk when this returns."""
    number = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(number) != 0:
            raise ToolError(f"{path} could not be synced: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(number)


def free_bytes(path: Path) -> int:
    """Free bytes on the file system of the path, or of its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def tree_bytes(path: Path) -> int:
    """Bytes of all regular files under the path; 0 when it is not there."""
    if path.is_file():
        return path.stat().st_size
    return sum(file_bytes(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)


def file_bytes(path: Path) -> int:
    """0 for what is no regular file, or has vanished: the service runs on while we count."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
