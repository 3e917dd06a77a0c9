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
                    archive.add(files.inside(root, each), arcname=each)
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


def members(path: Path) -> list[str]:
    """The names in the archive. Raises ArchiveError."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            return archive.getnames()
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error


def check(path: Path) -> None:
    """Read every member to its end, and the checksum after it. Raises ArchiveError."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isreg() else None
                while source is not None and source.read(CHUNK):
                    pass
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error


def unpack(path: Path, target: Path) -> None:
    """Make the directory `target` from the archive: all of it, or nothing. What is there already is replaced.

    Raises ArchiveError, for a member that would land outside too.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with tarfile.open(path, "r:gz") as archive:
            archive.extractall(made, filter="data")
        made.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    except tarfile.FilterError as error:
        raise ArchiveError(f"{path} was not unpacked: it has a member that is not safe ({error}).") from error
    except BROKEN as error:
        raise ArchiveError(broken(path, error)) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def broken(path: Path, error: Exception) -> str:
    return f"{path} cannot be read to its end: {error}. Nothing was unpacked from it. Choose another restore point."
