"""Artifacts as a restore point keeps them: a directory that is whole or not there, and costs only what has changed.

A kept tree is a listing and objects (listing.py). What has not changed since an older one is not read again: its
objects are hard links to the older one's. So each tree is complete by itself and may be copied, moved or deleted alone,
and what several share takes its space once.

Why so, and what else was measured: docs/decisions/0014-how-artifacts-are-kept.md
"""

from __future__ import annotations

import errno
import fcntl
import functools
import grp
import hashlib
import itertools
import os
import pwd
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from rollbacks.tools import ToolError, command, files, guard, listing
from rollbacks.tools.listing import Entry, Torn, Unsafe, printable

RECENT = 2.0  # seconds in which a file may change once more and still show the same times
WORKERS = min(4, len(os.sched_getaffinity(0)))  # the service runs on: not all of a large host is ours
BATCH = 16  # files that a worker takes at once
AHEAD = 8  # batches that may be under way
SHOWN = 5  # names in a message
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO)  # no file, or no longer one
SAME = -1  # chown's word for “as it is”


class StoreError(ToolError):
    """Artifacts cannot be kept, read or trusted."""


class Unread(NamedTuple):
    path: str
    name: str


@dataclass(frozen=True)
class Kept:
    files: int
    bytes: int  # of content
    read: int  # files that had to be read
    new_bytes: int  # on disk, shared with no older tree
    seconds: float


@dataclass(frozen=True)
class Size:
    bytes: int
    own: int  # what deleting the tree would free


# --- keeping --------------------------------------------------------------------------------------------------------


def keep(
    root: Path,
    names: Sequence[str],
    into: Path,
    *,
    previous: Path | None = None,
    say: Callable[[str], None] = command.silent,
) -> Kept:
    """Keep root/name for each name, files and directories, as the kept tree `into`; one that is there is replaced.

    `previous`: an older kept tree that can be trusted. What it has is shared with it.
    On disk as a whole when this returns. Raises StoreError; everything is as it was then.
    """
    began = time.monotonic()
    user_name.cache_clear()
    group_name.cache_clear()
    try:
        with beside(into) as new, workers() as pool:
            keeping = Keeping(new, previous, pool, say)
            keeping.keep(root, names)
    except (OSError, ToolError) as error:
        raise StoreError(
            f"The artifacts could not be kept: {error}. No copy of them was made; {root} is as it was."
        ) from error
    return Kept(keeping.files, keeping.bytes, keeping.read, keeping.new_bytes, time.monotonic() - began)


class Keeping:
    """A tree on its way: threads read, hash and compress files, and the listing is written in order."""

    def __init__(self, new: Path, previous: Path | None, pool: ThreadPoolExecutor, say: Callable[[str], None]) -> None:
        self.new, self.previous, self.pool, self.say = new, previous, pool, say
        self.older = files_of(previous, say)
        self.have: set[str] = set()  # objects that are in the new tree, or about to be
        self.changing: list[str] = []
        self.files = self.bytes = self.read = self.new_bytes = 0
        self.lock = threading.Lock()

    def keep(self, root: Path, names: Sequence[str]) -> None:
        (self.new / listing.OBJECTS).mkdir(mode=0o700)
        written = listing.write(self.new, map(self.counted, self.entries(root, names)))
        self.new_bytes += written  # only now: the threads have counted too
        if self.changing:
            self.say(f"warning: changed while they were read, kept as they were read: {shortened(self.changing)}\n")

    def counted(self, entry: Entry) -> Entry:
        self.files += entry.type == "file"
        self.bytes += entry.size
        return entry

    def entries(self, root: Path, names: Sequence[str]) -> Iterator[Entry]:
        """Everything in its order, while the next files are being read."""
        found, waiting = self.found(root, names), deque[Future[list[Entry]]]()
        while batch := list(itertools.islice(found, BATCH)):
            waiting.append(self.pool.submit(self.taken, batch))
            if len(waiting) > AHEAD:
                yield from waiting.popleft().result()
        for each in waiting:
            yield from each.result()

    def found(self, root: Path, names: Sequence[str]) -> Iterator[Entry | Unread]:
        """Everything under the names, parents first. What vanishes meanwhile, sockets and pipes are left out."""
        for outer in outermost(root, names):
            rest = [(str((root / outer).resolve(strict=True)), outer)]
            while rest:
                path, name = rest.pop()
                try:
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        yield self.known(name, status) or Unread(path, name)
                    elif stat.S_ISLNK(status.st_mode):
                        yield link(path, name, status)
                    elif stat.S_ISDIR(status.st_mode):
                        inside = sorted(os.listdir(path), reverse=True)
                        yield entry_of(name, "directory", status)
                        rest += [(f"{path}/{each}", f"{name}/{each}") for each in inside]
                except (FileNotFoundError, NotADirectoryError):  # the service runs on while we look
                    continue

    def known(self, name: str, status: os.stat_result) -> Entry | None:
        """What the older tree says of a file, when that still holds."""
        entry = self.older.get(name)
        if entry is not None and unchanged(entry, status) and all(self.share(sha) for sha in entry.objects):
            return entry
        return None

    def taken(self, batch: Sequence[Entry | Unread]) -> list[Entry]:
        entries = [self.take(each.path, each.name) if isinstance(each, Unread) else each for each in batch]
        return [entry for entry in entries if entry is not None]

    def take(self, path: str, name: str) -> Entry | None:
        """Read it. One that changes meanwhile is read once more, and then kept as it was read."""
        for _ in range(2):
            entry, quiet = self.take_once(path, name)
            if quiet:
                break
        else:
            self.changing.append(name)
        with self.lock:
            self.read += entry is not None
        return entry

    def take_once(self, path: str, name: str) -> tuple[Entry | None, bool]:
        """What was read, and whether the file was quiet meanwhile. What is no file any more is left out."""
        began = time.time()
        try:
            file = open(path, "rb", opener=opened)  # noqa: SIM115 — only what opening raises means “gone”
        except OSError as error:
            if error.errno in GONE:
                return None, True
            raise
        with file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return None, True
            pieces = [(len(piece), self.store(piece)) for piece in read(file, before.st_size)]
            quiet = times(before) == times(os.fstat(file.fileno()))
        settled = quiet and max(before.st_mtime, before.st_ctime) < began - RECENT
        entry = replace(
            entry_of(name, "file", before),
            size=sum(size for size, _ in pieces),
            objects=tuple(sha for _, sha in pieces),
            seen=(before.st_ino, before.st_ctime_ns) if settled else None,
        )
        return entry, quiet

    def store(self, content: bytes) -> str:
        """See to it that the new tree has this content; returns its sha256."""
        sha = hashlib.sha256(content).hexdigest()
        with self.lock:
            if sha in self.have:
                return sha
            self.have.add(sha)
        if not self.share_proven(sha):
            packed = listing.pack(self.new, sha, content)
            with self.lock:
                self.new_bytes += packed
        return sha

    def share(self, sha: str) -> bool:
        """Take the older tree's object into the new one. False where that cannot be: its content is read then."""
        with self.lock:
            if sha not in self.have and self.linked(sha):
                self.have.add(sha)
            return sha in self.have

    def share_proven(self, sha: str) -> bool:
        """The same with the content at hand: an object that has gone bad is not carried on."""
        if not self.linked(sha):
            return False
        try:
            listing.content(self.new, sha)
        except Torn:
            os.unlink(listing.place(self.new, sha))
            return False
        return True

    def linked(self, sha: str) -> bool:
        if self.previous is None:
            return False
        try:
            os.link(listing.place(self.previous, sha), listing.place(self.new, sha))
        except OSError:  # there is none, it has too many links, or the file system has no links
            return False
        return True


def files_of(previous: Path | None, say: Callable[[str], None]) -> dict[str, Entry]:
    """The files of an older tree by their paths. One that cannot be read is no reason not to make a new one."""
    try:
        return {each.path: each for each in listing.entries(previous) if each.type == "file"} if previous else {}
    except Torn as error:
        say(f"warning: {error}, so everything is read anew\n")
        return {}


def outermost(root: Path, names: Sequence[str]) -> list[str]:
    """Each name once, in order, without those that lie inside another. Raises UnsafePath."""
    chosen: list[str] = []
    for name in sorted({str(files.inside(root, name).relative_to(root)) for name in names}):
        if not any(name.startswith(f"{each}/") for each in chosen):
            chosen.append(name)
    return chosen


def entry_of(name: str, kind: str, status: os.stat_result) -> Entry:
    user, group = user_name(status.st_uid), group_name(status.st_gid)
    return Entry(name, kind, stat.S_IMODE(status.st_mode), user, group, status.st_mtime_ns)


def link(path: str, name: str, status: os.stat_result) -> Entry:
    """Raises Unsafe for a link that unpack() would refuse: better now than on the day it is needed."""
    entry = replace(entry_of(name, "link", status), target=os.readlink(path))
    listing.check_safe(entry)
    return entry


def unchanged(entry: Entry, status: os.stat_result) -> bool:
    """Its mode and owner too: who changes them changes the ctime."""
    seen = (entry.size, entry.mtime, entry.seen)
    return seen == (status.st_size, status.st_mtime_ns, (status.st_ino, status.st_ctime_ns))


def times(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def opened(path: str, flags: int) -> int:
    """Without following a link, or waiting at a pipe, that has taken the file's place."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def read(file: BufferedReader, size: int) -> Iterator[bytes]:
    """The content in pieces, as far as it went when we began: a file that grows has a beginning to keep."""
    while size > 0 and (piece := file.read(min(listing.PIECE, size))):
        size -= len(piece)
        yield piece


@functools.lru_cache
def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@functools.lru_cache
def group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


# --- what was kept --------------------------------------------------------------------------------------------------


def check(kept: Path, *, deep: bool = True, trusted: Path | None = None) -> list[str]:
    """What is wrong with a kept tree, in words; [] when it is sound.

    deep: every object is read back and its hash compared, save those shared with `trusted`, a tree that was read back
    before. Otherwise they are only looked for, and their lengths compared: what a full disk or a power cut left short.
    """
    named: dict[str, str] = {}  # objects, and who needs them
    lengths: dict[str, int] = {}
    try:
        for entry in listing.entries(kept):
            listing.check_safe(entry)
            named |= dict.fromkeys(entry.objects, entry.path)
            lengths |= zip(entry.objects, pieces(entry.size), strict=False)
    except (Torn, Unsafe) as error:
        return [str(error)]
    wrong = {sha: words for sha in named if (words := listing.lacking(kept, sha, lengths.get(sha, -1)))}
    doubted = [sha for sha in named if deep and sha not in wrong and not shared(kept, trusted, sha)]
    with workers() as pool:
        found = zip(doubted, pool.map(functools.partial(trouble, kept), doubted), strict=True)
        wrong |= {sha: words for sha, words in found if words}
    told = [f"{printable(named[sha])}: {words}" for sha, words in wrong.items()]
    return told if len(told) <= SHOWN else [*told[:SHOWN], f"and {len(told) - SHOWN} more"]


def pieces(size: int) -> Iterator[int]:
    """The lengths of the pieces in which content of this size is kept."""
    for begin in range(0, size, listing.PIECE):
        yield min(listing.PIECE, size - begin)


def shared(kept: Path, trusted: Path | None, sha: str) -> bool:
    """Whether both have the very same file."""
    try:
        return trusted is not None and os.path.samefile(listing.place(kept, sha), listing.place(trusted, sha))
    except OSError:
        return False


def trouble(kept: Path, sha: str) -> str:
    try:
        listing.content(kept, sha)
    except Torn as error:
        return str(error)
    return ""


def size(kept: Path) -> Size:
    """Bytes on disk. Raises StoreError."""
    try:
        found = [each.stat() for each in os.scandir(kept / listing.OBJECTS)] + [(kept / listing.NAME).stat()]
    except OSError as error:
        raise StoreError(f"The size of {kept} cannot be told: {error}.") from error
    return Size(sum(each.st_size for each in found), sum(each.st_size for each in found if each.st_nlink == 1))


def sizes(kept: Path) -> dict[str, int]:
    """Bytes of content by path, directories and links too. Raises StoreError, also for what would lead out."""
    try:
        found = list(listing.entries(kept))
        for entry in found:
            listing.check_safe(entry)
    except (Torn, Unsafe) as error:
        raise StoreError(f"{kept} cannot be trusted: {error}. Choose another restore point.") from error
    return {entry.path: entry.size for entry in found}


def unpack(
    kept: Path, target: Path, *, names: Sequence[str] | None = None, say: Callable[[str], None] = command.silent
) -> None:
    """Make the directory `target` from a kept tree: all of it (or of what lies under the names), or nothing. A
    directory that is there is replaced.

    Modes and times are as they were; owners too, when root does it and this host knows them. On disk when this returns.
    Raises StoreError; `target` is as it was then.
    """
    number_of.cache_clear()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside(target) as new, workers() as pool:
            found = [entry for entry in listing.entries(kept) if names is None or is_under(entry.path, names)]
            for entry in found:
                listing.check_safe(entry)
            lay_out(kept, found, new, pool)
    except (OSError, ToolError) as error:
        instead = " Choose another restore point." if isinstance(error, Torn | Unsafe) else ""
        raise StoreError(
            f"{kept} could not be unpacked: {error}. Nothing was unpacked; {target} is as it was.{instead}"
        ) from error
    strangers = {each.user for each in found if number_of(pwd.getpwnam, each.user) == SAME}
    strangers |= {each.group for each in found if number_of(grp.getgrnam, each.group) == SAME}
    if strangers:
        say(f"warning: this host has no {shortened(sorted(strangers))}: what was theirs belongs to who unpacked it\n")


def is_under(path: str, names: Iterable[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def lay_out(kept: Path, found: Sequence[Entry], new: Path, pool: ThreadPoolExecutor) -> None:
    """Links come after all that is written, so nothing is written through one."""
    folders, written, links = ([entry for entry in found if entry.type == kind] for kind in listing.TYPES)
    for folder in {each.path for each in folders} | {os.path.dirname(each.path) for each in found}:
        (new / folder).mkdir(parents=True, exist_ok=True)
    for _ in pool.map(functools.partial(write_file, kept, new), written):
        pass
    for entry in links:
        (new / entry.path).symlink_to(entry.target)
        give(new / entry.path, entry)
    for entry in reversed(folders):  # what is inside comes first: it changes the time, and needs the right to write
        give(new / entry.path, entry)


def write_file(kept: Path, new: Path, entry: Entry) -> None:
    path = new / entry.path
    with path.open("xb") as file:
        for sha in entry.objects:
            file.write(listing.content(kept, sha))
        if file.tell() != entry.size:
            raise Torn(f"{printable(entry.path)} should have {entry.size} bytes, and not {file.tell()}")
    give(path, entry)


def give(path: Path, entry: Entry) -> None:
    """Its owner, mode and times, in this order: a new owner takes the setgid bit away."""
    if os.geteuid() == 0:
        user, group = number_of(pwd.getpwnam, entry.user), number_of(grp.getgrnam, entry.group)
        os.chown(path, user, group, follow_symlinks=False)
    if entry.type != "link":
        path.chmod(entry.mode)
    os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


@functools.lru_cache
def number_of(find: Callable[[str], Any], name: str) -> int:
    try:
        return int(name) if name.isdigit() else int(find(name)[2])
    except KeyError:
        return SAME


def shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(printable(name) for name in names[:SHOWN]) + more


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(WORKERS, "store")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A new directory that takes the target's place when all went well and is on disk, and is gone otherwise."""
    guard.ask()
    work = partial(target)
    new, old = work / "new", work / "old"
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    with claimed(work):
        try:
            remove(new)  # of one that was killed
            remove(old)
            new.mkdir(mode=0o700)
            yield new
            files.sync(new)
            guard.ask()
            exchange(target, new, old)
        finally:
            remove(work)
    files.sync_directory(target.parent)


@contextmanager
def claimed(work: Path) -> Iterator[None]:
    """Nobody else works in there; whoever was killed does not any more. Raises StoreError."""
    number = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not is_ours(number, work):
            raise StoreError(f"somebody else is at work in {work}; wait until they are done, and try again")
        yield
    finally:
        os.close(number)


def is_ours(number: int, work: Path) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(number), os.stat(work))
    except (BlockingIOError, FileNotFoundError):  # the other one may have ended just now, and taken it away
        return False


def exchange(target: Path, new: Path, old: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise


def remove(tree: Path) -> None:
    """What cannot be removed is only in the way."""
    with suppress(OSError):
        files.remove(tree)


def discard(target: Path) -> None:
    """What unpack() made, or was making when it was killed. Raises OSError."""
    files.remove(partial(target))
    files.remove(target)


def partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")
