"""Archives of artifacts: whole or not there, and read to the end before anybody relies on them."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from rollbacks.tools import ToolError, files

BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error)
CHUNK = 1024 * 1024  # bytes


class ArchiveError(ToolError):
    """An archive cannot be made, read or trusted."""


def pack(target: Path, root: Path, names: Sequence[str]) -> None:
    """A tar.gz of root/name for each name, files and directories, in the order of their names.

    On disk as a whole when this returns. Raises ArchiveError; a target that was there before stays then.
    """
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                for each in sorted(set(names)):
                    add(archive, root, files.inside(root, each).resolve(strict=True), each)
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


def add(archive: tarfile.TarFile, root: Path, path: Path, name: str) -> None:
    """One file, or a directory with all in it. What vanishes meanwhile, sockets and pipes are left out.

    Raises tarfile.FilterError for a link that unpack() would refuse: better now than on the day it is needed.
    """
    try:
        info = archive.gettarinfo(path, name)
        if info is None or not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
            return
        tarfile.data_filter(info, str(root))
        if not info.isreg():
            archive.addfile(info)
        else:
            with path.open("rb") as source:
                archive.addfile(info, source)
        inside = sorted(path.iterdir()) if info.isdir() else []
    except FileNotFoundError:  # the service runs on while we pack
        return
    for each in inside:
        add(archive, root, each, f"{name}/{each.name}")


def members(path: Path) -> list[str]:
    """The names in the archive. Raises ArchiveError."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            return archive.getnames()
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error


def check(path: Path) -> None:
    """Read every member to its end, and the checksum after it. Raises ArchiveError, for an unsafe member too."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                tarfile.data_filter(member, str(path.parent))
                source = archive.extractfile(member) if member.isreg() else None
                while source is not None and source.read(CHUNK):
                    pass
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error


def unpack(path: Path, target: Path) -> None:
    """Make the directory `target` from the archive: all of it, or nothing. A directory that is there is replaced.

    Raises ArchiveError, for a member that would land outside too; `target` is as it was then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with tarfile.open(path, "r:gz") as archive:
            (work / "new").mkdir()
            archive.extractall(work / "new", filter="data")
        if target.exists():
            target.rename(work / "old")
        (work / "new").rename(target)
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def broken(path: Path, error: Exception) -> str:
    if isinstance(error, tarfile.FilterError):
        return f"{path} has a member that is not safe: {error}. Nothing was unpacked from it."
    return f"{path} cannot be read to its end: {error}. Nothing was unpacked from it. Choose another restore point."
