"""Archives of artifacts: whole or not there, and read to the end before anybody relies on them."""

from __future__ import annotations

import gzip
import os
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from rollbacks.tools import ToolError, files

BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error)
CHUNK = 1024 * 1024  # bytes
FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Debian 12's 3.11.2 has none


class ArchiveError(ToolError):
    """An archive cannot be made, read or trusted."""


class Unsafe(tarfile.TarError):
    """A member would land outside, or is no file, directory or link."""


def pack(target: Path, root: Path, names: Sequence[str]) -> None:
    """A tar.gz of root/name for each name, files and directories, in the order of their names.

    On disk as a whole when this returns. Raises ArchiveError; a target that was there before stays then.
    """
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                for each in sorted(set(names)):
                    add(archive, files.inside(root, each).resolve(strict=True), each)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except (*BROKEN, files.UnsafePath) as error:
        raise ArchiveError(
            f"{target} could not be written: {error}. No archive was made; {root} is as it was."
        ) from error
    finally:
        Path(name).unlink(missing_ok=True)
    files.sync_directory(target.parent)


def add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """One file, or a directory with all in it. What vanishes meanwhile, sockets and pipes are left out.

    Raises Unsafe for a link that unpack() would refuse: better now than on the day it is needed.
    """
    try:
        info = archive.gettarinfo(path, name)
        if info is None or not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
            return
        refuse_unsafe(info, set())
        if not info.isreg():
            archive.addfile(info)
        else:
            with path.open("rb") as source:
                archive.addfile(info, source)
        inside = sorted(path.iterdir()) if info.isdir() else []
    except FileNotFoundError:  # the service runs on while we pack
        return
    for each in inside:
        add(archive, each, f"{name}/{each.name}")


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive, to be read once; at the end what is left is read too, for the checksum comes last.

    Raises ArchiveError.
    """
    try:
        with gzip.open(path) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|") as archive:
                yield archive
            while unzipped.read(CHUNK):
                pass
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error


def members(path: Path) -> list[str]:
    """The names in the archive. Raises ArchiveError."""
    with opened(path) as archive:
        return archive.getnames()


def check(path: Path) -> None:
    """Read every member to its end, and the checksum after it. Raises ArchiveError, for an unsafe member too."""
    with opened(path) as archive:
        for member in safe(archive):
            source = archive.extractfile(member) if member.isreg() else None
            while source is not None and source.read(CHUNK):
                pass


def safe(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members one by one. Raises Unsafe before one that is not is touched."""
    links: set[str] = set()
    for member in archive:
        refuse_unsafe(member, links)
        if member.issym():
            links.add(posixpath.normpath(member.name))
        member.mode &= 0o755
        yield member


def refuse_unsafe(member: tarfile.TarInfo, links: set[str]) -> None:
    """`links`: the symbolic links before it. Nothing is written through one: where it leads is not in the name."""
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise Unsafe(f"{member.name!r} is no file, directory or link")
    written = [member.name, member.linkname] if member.islnk() else [member.name]
    pointed = posixpath.join(posixpath.dirname(member.name), member.linkname) if member.issym() else ""
    for place in (*written, pointed):
        inside = posixpath.normpath(place)
        if inside.startswith(("/", "../")) or inside == "..":
            raise Unsafe(f"{member.name!r} leads out")
    for path in map(PurePosixPath, map(posixpath.normpath, written)):
        if links.intersection(map(str, (path, *path.parents))):
            raise Unsafe(f"{member.name!r} lies behind a link")


def unpack(path: Path, target: Path) -> None:
    """Make the directory `target` from the archive: all of it, or nothing. A directory that is there is replaced.

    Raises ArchiveError, for a member that would land outside too; `target` is as it was then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    new = work / "new"
    new.mkdir()
    try:
        with opened(path) as archive:
            archive.extractall(new, members=safe(archive), **FILTER)  # noqa: S202 — safe() is the check
        if target.exists():
            target.rename(work / "old")
        new.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def broken(path: Path, error: Exception) -> str:
    if isinstance(error, Unsafe | getattr(tarfile, "FilterError", Unsafe)):
        return f"{path} has a member that is not safe: {error}. Nothing was unpacked from it."
    return f"{path} cannot be read to its end: {error}. Nothing was unpacked from it. Choose another restore point."
