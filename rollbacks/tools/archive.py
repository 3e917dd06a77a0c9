"""Archives of artifacts (tar.gz): of older restore points, and of those made by hand. They are only read here, to the
end before anybody relies on them; store.py keeps what is new."""

from __future__ import annotations

import gzip
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from rollbacks.tools import ToolError, store

BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error)
CHUNK = 1024 * 1024  # bytes
# Owners are kept, when root unpacks. Debian 12's 3.11.2 has no filters; what is safe is decided by safe().
FILTER: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}


class ArchiveError(ToolError):
    """An archive cannot be read or trusted."""


class Unsafe(tarfile.TarError):
    """A member would land outside, or is no file, directory or link."""


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


def sizes(path: Path) -> dict[str, int]:
    """Bytes by name of what is in the archive. Raises ArchiveError, for an unsafe member too."""
    with opened(path) as archive:
        return {named(member): member.size for member in safe(archive)}


def named(member: tarfile.TarInfo) -> str:
    """People pack ./artifacts too."""
    return posixpath.normpath(member.name)


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


def unpack(path: Path, target: Path, *, names: Sequence[str] | None = None) -> None:
    """Make the directory `target` from the archive (or of what lies under the names): all of it, or nothing. A
    directory that is there is replaced. On disk when this returns.

    Raises ArchiveError, for a member that would land outside too; `target` is as it was then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.beside(target) as new, opened(path) as archive:
        members = (each for each in safe(archive) if names is None or store.is_under(named(each), names))
        archive.extractall(new, members=members, **FILTER)  # noqa: S202 — safe() is the check


def broken(path: Path, error: Exception) -> str:
    if isinstance(error, Unsafe | getattr(tarfile, "FilterError", Unsafe)):
        said = f"has a member that is not safe: {error}"
    else:
        said = f"cannot be read to its end: {error}"
    return f"{path} {said}. Nothing was unpacked from it. Choose another restore point."
