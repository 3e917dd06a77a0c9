"""What a kept tree is on disk: a listing, objects, and a reader of both that needs nothing but Python.

    listing.jsonl     what was found: a line of JSON for each directory, file and link, parents first
    objects/ab12….gz  a piece of content (4 MiB at most), named by its sha256; a plain gzip file that anything can read

store.py makes such trees and unpacks them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rollbacks.tools import ToolError

gzipping: ModuleType
try:
    from isal import isal_zlib as gzipping
except ImportError:  # no wheel for this machine: the standard library writes the same format, three times slower
    gzipping = zlib

FORMAT = 1
NAME = "listing.jsonl"
OBJECTS = "objects"
PIECE = 4 * 1024 * 1024  # bytes of content in an object: what a worker holds in memory, and what one changed byte costs
GZIP = 31  # zlib's word for “with a gzip header”
FAST, STORED = 1, 0  # compression levels
SAMPLE = 4 * 1024  # bytes in the middle of a piece that tell whether compressing it is worth the time
WORTH = 0.9  # of its size: embeddings, pictures and archives hardly shrink, and would be slower to read ever after
TYPES = ("directory", "file", "link")
HASH = re.compile("[0-9a-f]{64}")


class Torn(ToolError):
    """A listing or an object is not what it was when it was written."""


class Unsafe(ToolError):
    """A path or a link that would lead out of the directory that is unpacked to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory, a file or a link. Owners are names where they have names: numbers differ between hosts."""

    path: str  # begins with one of the names that were asked for
    type: str  # one of TYPES
    mode: int
    user: str
    group: str
    mtime: int  # nanoseconds
    size: int = 0
    objects: tuple[str, ...] = ()
    target: str = ""
    seen: tuple[int, int] | None = None  # inode and ctime; None: it was changing, look again next time


# --- the listing ----------------------------------------------------------------------------------------------------


def write(kept: Path, found: Iterable[Entry]) -> int:
    """Write the listing; returns its bytes. Its last line tells how many entries there are: a torn one has none."""
    with (kept / NAME).open("x", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o400)
        file.write(json.dumps({"format": FORMAT}) + "\n")
        count = 0
        for entry in found:
            file.write(json.dumps(described(entry)) + "\n")
            count += 1
        file.write(json.dumps({"end": count}) + "\n")
    return (kept / NAME).stat().st_size


def entries(kept: Path) -> Iterator[Entry]:
    """What the listing says, entry by entry. Raises Torn."""
    path = kept / NAME
    try:
        with path.open(encoding="ascii") as lines:
            told: Iterator[dict[str, Any]] = (json.loads(line) for line in lines)
            if (form := next(told, {}).get("format")) != FORMAT:
                raise Torn(f"{path} is of format {form}, and not of {FORMAT}")
            count = 0
            for words in told:
                if "end" in words:
                    break
                yield entry_from(words)
                count += 1
            else:
                raise Torn(f"{path} has no end")
            if words["end"] != count:
                raise Torn(f"{path} has {count} entries, and not {words['end']}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Torn(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def described(entry: Entry) -> dict[str, Any]:
    words: dict[str, Any] = {"path": entry.path, "type": entry.type, "mode": f"{entry.mode:04o}"}
    words |= {"user": entry.user, "group": entry.group, "mtime": entry.mtime}
    if entry.type == "link":
        words["target"] = entry.target
    if entry.type == "file":
        words |= {"size": entry.size, "objects": entry.objects, "seen": entry.seen}
    return words


def entry_from(words: dict[str, Any]) -> Entry:
    """Raises ValueError, KeyError or TypeError for a line that described() did not write."""
    if words["type"] not in TYPES or not all(HASH.fullmatch(sha) for sha in words.get("objects", ())):
        raise ValueError(f"{words['path']!r} is not described as it should be")
    seen = words.get("seen")
    return Entry(
        path=words["path"],
        type=words["type"],
        mode=int(words["mode"], 8),
        user=words["user"],
        group=words["group"],
        mtime=words["mtime"],
        size=words.get("size", 0),
        objects=tuple(words.get("objects", ())),
        target=words.get("target", ""),
        seen=(seen[0], seen[1]) if seen else None,
    )


def check_safe(entry: Entry) -> None:
    """Raises Unsafe for what would land, or lead, outside of the directory that is unpacked to."""
    if "\0" in entry.path or {"", ".", ".."} & set(entry.path.split("/")):
        raise Unsafe(f"{entry.path!r} is no safe path")
    end = os.path.normpath(os.path.join(os.path.dirname(entry.path), entry.target))
    if end.startswith("/") or end.split("/")[0] == "..":
        words = f"{printable(entry.path)} is a link to {printable(entry.target)}"
        raise Unsafe(f"{words}, which leads out (make it relative, and stay inside)")


def printable(path: str) -> str:
    """The path for a message: bytes that are no text cannot be shown, nor kept in a database."""
    return os.fsencode(path).decode(errors="backslashreplace")


# --- the objects ----------------------------------------------------------------------------------------------------


def place(kept: Path, sha: str) -> str:
    return f"{kept}/{OBJECTS}/{sha}.gz"


def pack(kept: Path, sha: str, content: bytes) -> int:
    """Write the object; returns its bytes."""
    packed = gzipping.compress(content, FAST, GZIP) if shrinks(content) else zlib.compress(content, STORED, GZIP)
    rest = memoryview(packed)
    number = os.open(place(kept, sha), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(number, "wb", buffering=0) as file:
        while rest:
            rest = rest[file.write(rest) :]
    return len(packed)


def shrinks(content: bytes) -> bool:
    middle = max(0, (len(content) - SAMPLE) // 2)
    sample = content[middle : middle + SAMPLE]
    return len(gzipping.compress(sample, FAST, GZIP)) < WORTH * len(sample)


def content(kept: Path, sha: str) -> bytes:
    """What the object holds. Raises Torn; also where only gzip would stumble, for one day there may be only gzip."""
    path = place(kept, sha)
    try:
        with open(path, "rb", buffering=0) as file:
            unzip = gzipping.decompressobj(GZIP)
            found: bytes = unzip.decompress(file.read(), PIECE + 1)
    except (OSError, zlib.error, gzipping.error) as error:
        raise Torn(f"{path} cannot be read ({error})") from error
    if not unzip.eof or unzip.unused_data or hashlib.sha256(found).hexdigest() != sha:
        raise Torn(f"{path} is not what was written")
    return found


def lacking(kept: Path, sha: str, length: int) -> str:
    """ "" or what can be told to be wrong without reading it all: gzip ends with the length of the content."""
    path = place(kept, sha)
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(-4, os.SEEK_END)
            found = int.from_bytes(file.read(4), "little")
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error})"
    return "" if found == length else f"{path} is not what was written"


# --- without the portal ---------------------------------------------------------------------------------------------

READER = r"""# python3 -I -S - KEPT [TARGET]: reads a kept tree back; unpacks it into TARGET, which is made.
import grp, gzip, hashlib, json, os, pwd, sys
kept, target = sys.argv[1], (sys.argv[2:] or [None])[0]
def content(sha):
    try:
        found = gzip.open(os.path.join(kept, "objects", sha + ".gz")).read()
    except Exception as error:
        sys.exit("Broken: object %s: %s. Nothing live was changed." % (sha, error))
    if hashlib.sha256(found).hexdigest() != sha:
        sys.exit("Broken: object %s is not what was written. Nothing live was changed." % sha)
    return found
def number(find, name):
    try: return int(name) if name.isdigit() else find(name)[2]
    except KeyError: return -1  # nobody of that name here: as it is
told = [json.loads(line) for line in open(os.path.join(kept, "listing.jsonl"), encoding="ascii")]
if len(told) < 2 or told[0].get("format") != 1 or told[-1].get("end") != len(told) - 2:
    sys.exit("Broken: the listing is not whole. Nothing live was changed.")
told = sorted(told[1:-1], key=lambda entry: ["directory", "file", "link"].index(entry["type"]))
for entry in told:
    end = os.path.normpath(os.path.join(os.path.dirname(entry["path"]), entry.get("target", "")))
    if {"", ".", ".."} & set(entry["path"].split("/")) or end.split("/")[0] in ("", ".."):
        sys.exit("Unsafe: %(path)s leads out. Nothing live was changed." % entry)
for sha in () if target else {sha for entry in told for sha in entry.get("objects", ())}:
    content(sha)
if target:
    os.makedirs(target, 0o700)
    for entry in told:
        path = os.path.join(target, entry["path"])
        os.makedirs(path if entry["type"] == "directory" else os.path.dirname(path), exist_ok=True)
        if entry["type"] == "link":
            os.symlink(entry["target"], path)
        elif entry["type"] == "file":
            with open(path, "xb") as file: file.writelines(map(content, entry["objects"]))
    for entry in sorted(told, key=lambda entry: entry["path"], reverse=True):
        path, user, group = os.path.join(target, entry["path"]), entry["user"], entry["group"]
        if os.geteuid() == 0:
            os.chown(path, number(pwd.getpwnam, user), number(grp.getgrnam, group), follow_symlinks=False)
        if entry["type"] != "link":
            os.chmod(path, int(entry["mode"], 8))
        os.utime(path, ns=(entry["mtime"],) * 2, follow_symlinks=False)
"""
