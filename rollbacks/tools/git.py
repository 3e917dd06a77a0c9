"""Git, through GitPython. Nothing here runs a hook, opens a pager or asks for a password, and no word that came from a
person can be taken for an option."""

from __future__ import annotations

import difflib
import hashlib
import os
import pwd
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rollbacks.tools import ToolError, command, files, guard

NAME = "Rollback portal"
MAIL = "rollback-portal@localhost"
IDENTITY = {
    "GIT_AUTHOR_NAME": NAME,
    "GIT_AUTHOR_EMAIL": MAIL,
    "GIT_COMMITTER_NAME": NAME,
    "GIT_COMMITTER_EMAIL": MAIL,
}
QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat", "LC_ALL": "C"}
LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}  # a file may be named like a pattern
# What git writes into its own directory is whole or not there: an empty object or tag, after a power cut, would break
# every later command. (By batches: at once on disk where the file system keeps git's hopes, else see mend().)
DURABLE = ("core.fsync=all", "core.fsyncMethod=batch")
# Nothing that the checkout's own configuration names is run by a look at it, and no key is asked for.
OURS = [
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false", "tag.gpgSign=false",
    "commit.gpgSign=false", "advice.detachedHead=false", *DURABLE,
]  # fmt: skip
GIT = ["git", *(word for each in OURS for word in ("-c", each))]
FETCH = ["fetch", "--quiet", "--force", "--no-tags", "--update-shallow"]
PATIENCE = 600.0  # seconds: a large checkout, or a filter that fetches
REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
SHA = re.compile(r"[0-9a-f]{40}")
KINDS = {"A": "added", "M": "modified", "D": "deleted", "T": "modified", "U": "conflicted"}
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git knows it without being told
LOCK_PATIENCE = 3.0  # seconds for somebody else's git command to end
SHOWN = 200  # commits and files that a plan lists at most


class GitError(ToolError):
    """A git command did not go as it should."""


class UnknownRef(GitError):
    """No such commit, tag or branch; the message names near ones."""


@dataclass(frozen=True)
class Head:
    commit: str  # 40 hex digits
    branch: str  # "" when detached


@dataclass(frozen=True)
class Commit:
    sha: str
    subject: str
    author: str
    at: datetime


@dataclass(frozen=True)
class FileChange:
    path: str
    kind: str  # added, modified, deleted, conflicted, untracked
    added: int = -1  # lines; -1 when it cannot be said (a binary, an untracked file)
    removed: int = -1


def git(root: Path, *args: str, env: dict[str, str] | None = None, timeout: float = PATIENCE) -> str:
    """Standard output of one git command, without the last newline. `timeout`: seconds. Raises GitError.

    It gets nothing of the portal's own environment: a filter or an ssh command of the checkout could read it.
    """
    guard.ask()
    surroundings = {**command.clean_environment(), **QUIET, **(env or {})}
    try:
        code, out, error = command.capture([*GIT, *args], cwd=root, env=surroundings, timeout=timeout)
    except command.CommandFailed as failed:
        if not root.is_dir():
            raise GitError(no_checkout(root)) from failed
        raise GitError(f"git {args[0]} failed in {root}: {failed}") from failed
    if code != 0:
        said = error.decode(errors="replace").strip() or f"code {code}"
        raise GitError(
            no_checkout(root) if "not a git repository" in said else f"git {args[0]} failed in {root}: {said}"
        )
    return out.decode(errors="surrogateescape").removesuffix("\n")


def no_checkout(root: Path) -> str:
    return f"{root} is no git checkout. Clone the system there, or correct “root” in its manifest."


UNFINISHED = (("MERGE_HEAD", "merge"), ("rebase-merge", "rebase"), ("rebase-apply", "rebase"))


def check_checkout(root: Path) -> Head:
    """Where it is. Raises GitError, with what to do, unless root is a checkout's top, has a commit and is at rest."""
    if not root.is_dir():
        raise GitError(f"{root} does not exist. Clone the system there, or correct “root” in its manifest.")
    check_owner(root)
    asked = ["--is-inside-work-tree", "--show-cdup", "--revs-only", "HEAD", "--symbolic-full-name", "HEAD"]
    inside, *said = git(root, "rev-parse", *asked).split("\n")  # one process for all
    if inside != "true":
        raise GitError(f"{root} is a bare repository. “root” in the manifest has to be a checkout.")
    if said[0]:
        top = git(root, "rev-parse", "--show-toplevel")
        raise GitError(f"{root} is inside the checkout {top}. Name the top of it: correct “root” in its manifest.")
    if len(said) < 3:
        raise GitError(f"{root} has no commit yet: there is nothing to go back to.")
    for name, word in UNFINISHED:
        if git_path(root, name).exists():
            raise GitError(
                f"{root} is in the middle of a {word}. Finish it or `git {word} --abort` it, then try again."
            )
    return named_head(*said[1:])


def check_owner(root: Path) -> None:
    """Raises GitError for somebody else's checkout: what root or another user writes there is not the owner's any more,
    and their next deployment fails."""
    owner, own = root.stat().st_uid, os.geteuid()
    if owner != own:
        raise GitError(
            f"{root} belongs to {user_name(owner)}, and the worker runs as {user_name(own)}: files that it writes "
            f"there would not be {user_name(owner)}'s. Nothing was changed. Run this host's worker as "
            f"{user_name(owner)}."
        )


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def git_path(root: Path, name: str) -> Path:
    """git is asked only where it may say something else: in a work tree, whose .git is a file."""
    own = root / ".git"
    return own / name if own.is_dir() else root / git(root, "rev-parse", "--git-path", name)


# --- reading --------------------------------------------------------------------------------------------------------


def head(root: Path) -> Head:
    return named_head(*git(root, "rev-parse", "HEAD", "--symbolic-full-name", "HEAD").splitlines())


def named_head(commit: str, name: str) -> Head:
    return Head(commit, name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else "")


def resolve(root: Path, ref: str) -> str:
    """The commit that a tag, branch or (short) hash names. Raises UnknownRef."""
    if not REF.fullmatch(ref) or ".." in ref:
        raise UnknownRef(f"{ref!r} is no name of a commit, tag or branch.")
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except GitError:
        names = git(root, "tag", "--list", "--sort=-creatordate").splitlines()
        near = difflib.get_close_matches(ref, names, 3, 0.5) or names[:3]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        fetch = f"`git -C {shlex.quote(str(root))} fetch"
        if is_shallow(root):
            hint += f" It is a shallow clone, which lacks older commits: {fetch} --unshallow --tags` brings them."
        elif remote(root):
            hint += f" The remote was not asked: {fetch} --tags` brings what only that has."
        raise UnknownRef(f"{root} knows no commit, tag or branch {ref!r}.{hint}") from None


def is_shallow(root: Path) -> bool:
    """Is the history cut off somewhere, as `git clone --depth` does it?"""
    return git(root, "rev-parse", "--is-shallow-repository") == "true"


FORMAT = "--format=%H%x00%s%x00%an%x00%cI"  # a NUL is the one character that no commit can hold


def commits(root: Path, *args: str) -> list[Commit]:
    said = git(root, "log", "-z", FORMAT, *args).split("\0")
    rows = zip(said[::4], said[1::4], said[2::4], said[3::4], strict=False)
    return [Commit(sha, subject, author, datetime.fromisoformat(at)) for sha, subject, author, at in rows]


def log(root: Path, limit: int = 20) -> list[Commit]:
    return commits(root, f"--max-count={limit}", "HEAD", "--")


def commit(root: Path, sha: str) -> Commit:
    return commits(root, "--max-count=1", "--end-of-options", sha, "--")[0]


def between(root: Path, old: str, new: str) -> list[Commit]:
    """Commits that `new` has and `old` has not, the newest first, at most 200."""
    return commits(root, f"--max-count={SHOWN}", "--end-of-options", f"{old}..{new}", "--")


def changed_files(root: Path, old: str, new: str, paths: Sequence[str] = ()) -> list[FileChange]:
    """What differs from `old` to `new`, by path; only below `paths` when some are given."""
    return changes(git(root, *COMPARED, "--end-of-options", old, new, "--", *literal(paths)))


def names_changed(root: Path, old: str, new: str) -> list[str]:
    """The paths of what differs, without a look into the files."""
    said = git(root, "diff", "--no-renames", "--name-only", "-z", "--end-of-options", old, new, "--")
    return [path for path in said.split("\0") if path]


def literal(paths: Sequence[str]) -> list[str]:
    """Paths as pathspecs that mean just themselves, whatever characters they hold."""
    return [f":(top,literal){path}" for path in paths]


def holds(root: Path, commit: str, paths: Sequence[str]) -> bool:
    """Does the commit hold a file below one of the paths?"""
    return bool(git(root, "ls-tree", "-r", "-z", "--name-only", "--end-of-options", commit, "--", *paths))


def submodules(root: Path, commit: str) -> list[str]:
    """The paths of the commit's submodules."""
    rows = git(root, "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit).split("\0")
    return [row.partition("\t")[2] for row in rows if row.startswith("160000 ")]


def differs(root: Path, commit: str, *, only: Sequence[str] = (), ignoring: Sequence[str] = ()) -> bool:
    """Does a tracked file differ from the commit? (After a power cut HEAD may be there, and the files be empty.)"""
    wanted = literal(only) or [":(top)"]
    left_out = [f":(top,exclude,literal){path}" for path in ignoring]
    diff = ["diff", "--no-renames", "--name-only", "-z", "--end-of-options", commit, "--"]
    with spare_index(root) as env:
        return bool(git(root, *diff, *wanted, *left_out, env=env))


COMPARED = ["diff", "--no-renames", "--raw", "--numstat", "-z"]


def changes(said: str) -> list[FileChange]:
    """What a comparison said: pairs of modes and a path, then the lines of each path."""
    words = said.split("\0")[:-1]
    first = next((number for number in range(0, len(words), 2) if not words[number].startswith(":")), len(words))
    counts = {}
    for row in words[first:]:
        added, removed, path = row.split("\t", 2)
        counts[path] = (-1, -1) if added == "-" else (int(added), int(removed))
    pairs = zip(words[:first:2], words[1:first:2], strict=True)
    kinds = {path: modes.split()[-1][:1] for modes, path in pairs}
    return [FileChange(path, KINDS.get(kind, kind), *counts.get(path, (-1, -1))) for path, kind in kinds.items()]


def named(root: Path, commit: str, path: str) -> str:
    """git's name of the content of a file or folder in a commit; "" when it is not there."""
    place = "" if path == "." else path
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}:{place}")
    except GitError:
        return ""


def uncommitted(root: Path) -> list[FileChange]:
    """Tracked files that differ from HEAD (staged or not), and untracked ones that are not ignored."""
    with spare_index(root) as env:
        changed = changes(git(root, *COMPARED, "HEAD", "--", env=env))
    return changed + [FileChange(path, "untracked") for path in untracked(root)]


def tree_state(root: Path, ignoring: Sequence[str] = (), *, tracked: bool = False, at: Head | None = None) -> str:
    """sha256 over HEAD, branch, and content and mode of every tracked, or untracked and not ignored, file.

    `tracked`: of tracked files only. `at`: HEAD, when it was read just now.
    """
    with spare_index(root) as env:
        add_all(root, env, ignoring, "--update" if tracked else "--all")
        tree = git(root, "write-tree", env=env)
    now = at or head(root)
    return hashlib.sha256(f"{now.commit} {now.branch} {tree}".encode()).hexdigest()


def add_all(root: Path, env: dict[str, str], ignoring: Sequence[str] = (), which: str = "--all") -> None:
    """Everything into the spare index; what is to be ignored is taken out again (an excluding pathspec would fail on
    a path that .gitignore names too)."""
    git(root, "add", which, "--", ".", env=env)
    if ignoring:
        git(root, "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", *ignoring, env=env)


@contextmanager
def spare_index(root: Path) -> Iterator[dict[str, str]]:
    """The environment in which git works on a copy of the index, so that the real one stays as it is. (`git diff` too
    writes the index, and locks it for that.)

    The copy is as old as the index: git reads a file again only when it was changed after that, to the second. It is
    not beside the index: a host that loses its power would keep it there, and its lock, for ever.
    """
    real = git_path(root, "index")
    with tempfile.TemporaryDirectory(prefix="portal-index-") as folder:
        copy = Path(folder) / "index"
        if real.exists():
            shutil.copy2(real, copy)
        yield {"GIT_INDEX_FILE": str(copy)}


def read_index(root: Path) -> bytes:
    path = git_path(root, "index")
    return path.read_bytes() if path.exists() else b""


def tags(root: Path, pattern: str = "*") -> list[tuple[str, str, datetime]]:
    """(name, commit, time) of the tags that match, the newest first."""
    form = "--format=%(refname:strip=2)%1f%(objectname)%1f%(*objectname)%1f%(creatordate:unix)"
    rows = git(root, "tag", "--list", "--sort=-creatordate", form, "--", pattern).splitlines()
    parts = [row.split("\x1f") for row in rows]
    return [(name, peeled or own, datetime.fromtimestamp(int(at or 0), UTC)) for name, own, peeled, at in parts]


def own_tags(root: Path) -> set[str]:
    """The tags that a portal made: this one, or another host's, whose tags came with a fetch."""
    rows = git(root, "tag", "--list", "--format=%(refname:strip=2)%1f%(taggeremail)").splitlines()
    return {name for name, _, mail in (row.partition("\x1f") for row in rows) if mail == f"<{MAIL}>"}


# --- writing --------------------------------------------------------------------------------------------------------


def exclude(root: Path, *patterns: str) -> None:
    """Let git not see files of the patterns in this checkout, without a change to its .gitignore."""
    path = git_path(root, "info/exclude")
    lines = path.read_text().splitlines() if path.exists() else []
    if new := [pattern for pattern in patterns if pattern not in lines]:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, "\n".join([*lines, *new, ""]).encode())


def tag(root: Path, name: str, commit: str, message: str) -> None:
    """An annotated tag. Raises GitError when the name is taken by another commit; the same commit is fine."""
    known = tagged(root, name)
    if known == commit:
        return
    if known:
        raise GitError(f"The tag {name} exists already and names {known[:10]}. Nothing was changed; try again.")
    clear_locks(root)
    git(root, "tag", "--annotate", "--message", message, "--end-of-options", name, commit, env=IDENTITY)


def tagged(root: Path, name: str) -> str:
    """The commit of a tag, or ""."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}^{{commit}}")
    except GitError:
        return ""


def delete_tag(root: Path, name: str) -> None:
    if tagged(root, name):
        git(root, "tag", "--delete", "--end-of-options", name)


def push_tag(root: Path, name: str, timeout: float = 30) -> bool:
    """False when there is no remote. Raises GitError when it cannot be pushed within `timeout` seconds."""
    remotes = git(root, "remote").splitlines()
    if not remotes:
        return False
    remote = "origin" if "origin" in remotes else remotes[0]
    git(root, "push", "--quiet", remote, f"refs/tags/{name}", timeout=timeout)
    return True


def begin(root: Path) -> None:
    """A repository in an empty directory, on a commit that holds nothing. Doing it twice is fine."""
    if not (root / ".git").exists():
        git(root, "init", "--quiet")
    try:
        git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:
        empty = git(root, "commit-tree", EMPTY_TREE, "-m", "Nothing stood here", env=IDENTITY)
        git(root, "update-ref", "--no-deref", "HEAD", empty)


def fetch_tag(root: Path, source: str, tag: str, timeout: float = 600) -> None:
    """A tag and all of its history that is there, from an address or a directory. Raises GitError."""
    mend(root)
    git(root, *FETCH, "--", source, f"refs/tags/{tag}:refs/tags/{tag}", timeout=timeout)


def remote(root: Path) -> str:
    """The address of origin (else of the first remote); "" when there is none."""
    names = git(root, "remote").splitlines()
    return git(root, "remote", "get-url", "--", "origin" if "origin" in names else names[0]) if names else ""


def add_remote(root: Path, url: str) -> None:
    """As origin, unless there is a remote already."""
    if url and not remote(root):
        git(root, "remote", "add", "--", "origin", url)


def without_password(url: str) -> str:
    return re.sub(r"(://)[^/@]*@", r"\1", url)


def mirror(root: Path, target: Path, tag: str) -> None:
    """Keep the tag, and all that it needs, in a bare repository beside the backups: only what is new is written.

    Of a shallow clone, as much history as it has. A push of that is refused; and what was kept of one is deepened here,
    because a push of older commits would be refused too.
    """
    if not target.exists():
        made = target.with_name(f".{target.name}.partial")
        shutil.rmtree(made, ignore_errors=True)  # of one that was cut short
        made.mkdir(parents=True, mode=0o700)
        git(root, "init", "--quiet", "--bare", "--", str(made))
        for each in DURABLE:  # who receives a push hears nothing of our own settings
            git(made, "config", *each.split("="))
        files.sync(made)
        made.rename(target)
    clear_locks(target)
    mend(target)
    cut_off = is_shallow(target)
    if cut_off or is_shallow(root):
        deeper = ["--unshallow"] if cut_off else []
        git(target, *FETCH, *deeper, "--", str(root.resolve()), f"refs/tags/{tag}:refs/tags/{tag}")
    else:
        git(root, "push", "--quiet", "--no-verify", "--force", "--", str(target), f"refs/tags/{tag}")


def snapshot(
    root: Path, name: str, message: str, *, target: str = "", leaving: Sequence[str] = (), hidden: Sequence[str] = ()
) -> str:
    """Tag a commit that holds the tree as found, uncommitted and untracked files included; returns the commit.

    HEAD itself when nothing is uncommitted. Index, work tree and HEAD stay as they are. An existing tag is kept.
    `target`: a commit that will be checked out; what git ignores and that would overwrite is held too, except
    `hidden`. `leaving`: what the service writes itself; there, files that git does not track stay out, so that going
    back does not take what was written since out of a log.
    """
    if known := tagged(root, name):
        return known
    mend(root)
    parent = git(root, "rev-parse", "HEAD")
    with spare_index(root) as env:
        add_all(root, env)
        take_out(root, env, under(untracked(root), leaving))
        if target:
            put_in(root, env, [path for path in in_the_way(root, env, target) if not is_under(path, hidden)])
        tree = git(root, "write-tree", env=env)
    files.sync(root)  # a tag never names what a power cut can take
    made = parent
    if tree != git(root, "rev-parse", f"{parent}^{{tree}}"):
        made = git(root, "commit-tree", tree, "-p", parent, "-m", message, env=IDENTITY)
    tag(root, name, made, message)
    return made


def in_the_way(root: Path, env: dict[str, str], target: str) -> list[str]:
    """Files on disk that the index does not hold, and that a checkout of `target` would overwrite."""
    wanted = set(git(root, "ls-tree", "-r", "--name-only", "-z", "--end-of-options", target).split("\0"))
    known = set(git(root, "ls-files", "-z", env=env).split("\0"))
    return sorted(path for path in wanted - known if path and os.path.lexists(root / path))


def put_in(root: Path, env: dict[str, str], paths: Sequence[str]) -> None:
    """These files into the spare index, ignored or not."""
    for some in batches(paths):
        git(root, "add", "--force", "--", *some, env=env | LITERAL)


def take_out(root: Path, env: dict[str, str], paths: Sequence[str]) -> None:
    for some in batches(paths):
        git(root, "rm", "--cached", "--quiet", "--ignore-unmatch", "--", *some, env=env | LITERAL)


def batches(paths: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """A command line is not endless."""
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def untracked(root: Path) -> list[str]:
    """Files that are neither in the index nor ignored."""
    return [path for path in git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0") if path]


def under(paths: Sequence[str], places: Sequence[str]) -> list[str]:
    return [path for path in paths if is_under(path, places)]


def is_under(path: str, places: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(place) for place in places)


def add_worktree(root: Path, path: Path, commit: str) -> None:
    """A detached work tree of the commit, made anew whatever a killed worker left there."""
    remove_worktree(root, path)
    files.make_folder(path.parent)
    git(root, "worktree", "add", "--detach", "--force", "--end-of-options", str(path), commit)


def remove_worktree(root: Path, path: Path) -> None:
    if path.exists():
        try:
            git(root, "worktree", "remove", "--force", "--force", "--", str(path))
        except GitError:
            remove_tree(path)  # git does not know it (any more)
    git(root, "worktree", "prune")


def remove_tree(path: Path) -> None:
    for folder, folders, names in os.walk(path, topdown=False):
        for name in names:
            Path(folder, name).unlink()
        for name in folders:
            each = Path(folder, name)
            each.unlink() if each.is_symlink() else each.rmdir()
    path.rmdir()


def checkout(root: Path, target: str, branch: str = "") -> None:
    """Bring index and work tree to the commit; detached, or on a branch that names it. Tracked edits are replaced."""
    if branch:
        if git(root, "rev-parse", "--verify", "--end-of-options", f"refs/heads/{branch}") != target:
            raise GitError(f"The branch {branch} no longer names {target[:10]}: it is not checked out.")
        past_locks(root, "checkout", "--quiet", "--force", branch, "--")
    else:
        sha = target if SHA.fullmatch(target) else commit(root, target).sha
        past_locks(root, "checkout", "--quiet", "--force", "--detach", sha, "--")


def put_back(
    root: Path,
    snapshot: str,
    found: Head,
    index: bytes,
    *,
    advanced: str = "",
    aside: Path | None = None,
    leaving: Sequence[str] = (),
) -> None:
    """The work tree of the snapshot, with HEAD, branch and index as they were found.

    `advanced`: a commit of ours that the branch was moved on to meanwhile, and is moved back from. `aside`: where files
    go that came since (never deleted); those in `leaving` stay where they are.
    """
    branch = f"refs/heads/{found.branch}" if found.branch else ""
    if branch and git(root, "rev-parse", branch) not in (found.commit, advanced):
        raise GitError(
            f"The branch {found.branch} no longer names {found.commit[:10]}, where it was found: somebody has moved "
            "it. The code was left as it is."
        )
    checkout(root, snapshot)
    if aside is not None:
        for path in untracked(root):
            if not is_under(path, leaving):
                files.set_aside(root / path, aside / path)
    if branch:
        if advanced and git(root, "rev-parse", branch) == advanced:
            git(root, "update-ref", branch, found.commit, advanced)
        git(root, "symbolic-ref", "HEAD", branch)
    else:
        git(root, "update-ref", "--no-deref", "HEAD", found.commit)
    if index:
        real = git_path(root, "index")
        files.write(real, index)
        os.utime(real, (1, 1))  # older than any file: git takes none for unchanged without reading it


def put_paths(root: Path, source: str, paths: Sequence[str]) -> None:
    """The paths, in index and work tree, as they are in the commit `source`; what it does not hold there is removed."""
    words = ("checkout", "--quiet", "--force", "--no-overlay", source, "--")
    try:
        past_locks(root, *words, *literal(paths))
    except GitError:  # it does nothing at all when it knows one of the paths from nowhere
        known = [path for path in paths if holds(root, source, [path]) or git(root, "ls-files", "--", *literal([path]))]
        if len(known) == len(paths):
            raise
        if known:
            past_locks(root, *words, *literal(known))


def commit_paths(root: Path, parent: str, source: str, paths: Sequence[str], message: str) -> str:
    """A commit on top of `parent` that has the paths as `source` has them. Index, work tree and branches stay.

    The parent itself when it has them so already.
    """
    mend(root)
    with spare_index(root) as env:
        git(root, "read-tree", parent, env=env)
        git(root, "reset", "--quiet", source, "--", *literal(paths), env=env)  # in the spare index only
        tree = git(root, "write-tree", env=env)
    files.sync(root)
    if tree == git(root, "rev-parse", f"{parent}^{{tree}}"):
        return parent
    return git(root, "commit-tree", tree, "-p", parent, "-m", message, env=IDENTITY)


def advance(root: Path, found: str, commit: str) -> None:
    """Move HEAD (and the branch that it is on) from `found` to the commit. Doing it twice is fine. Raises GitError."""
    try:
        past_locks(root, "update-ref", "-m", "rollback portal: restore a component", "HEAD", commit, found)
    except GitError:  # git itself refuses when HEAD is not at `found`
        check_not_moved(root, found, commit)
        if head(root).commit != commit:
            raise


def check_not_moved(root: Path, found: str, ours: str) -> None:
    """Raises GitError when HEAD names neither what was found nor what we make of it."""
    now = head(root).commit
    if now not in (found, ours):
        raise GitError(
            f"{root} is at {now[:10]}, and no longer at {found[:10]}, where it was found: somebody has moved it. "
            "Its code was left as it is."
        )


def past_locks(root: Path, *words: str) -> None:
    """A command that git's locks keep out. Where it fails and there are some, they are cleared and it is run again: to
    look for them first would be one more process in every outage."""
    try:
        git(root, *words)
    except GitError:
        if not locks(root):
            raise
        clear_locks(root)
        git(root, *words)


def clear_locks(root: Path) -> None:
    """Wait for another git command to end; remove what one that was killed left. Raises GitError if one runs on."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while left := locks(root):
        if time.monotonic() > deadline:
            if git_runs_in(root):
                raise GitError(f"A git command is at work in {root} ({left[0]}). Nothing was changed: let it end.")
            for lock in left:
                lock.unlink(missing_ok=True)
        time.sleep(0.02)


def mend(root: Path) -> None:
    """Remove the objects that a power cut left empty, ours or a deployer's. git takes them for written, so that each
    later commit of the same content would be broken too; without them it writes them anew."""
    for path in git_path(root, "objects").glob("??/*"):
        with suppress(FileNotFoundError):  # packed meanwhile
            if path.stat().st_size == 0:
                path.unlink()


def locks(root: Path) -> list[Path]:
    """Of the index, of HEAD and of each branch and tag: git does nothing with what has one."""
    single = (git_path(root, name) for name in ("index.lock", "HEAD.lock", "packed-refs.lock", "config.lock"))
    return [path for path in (*single, *git_path(root, "refs").rglob("*.lock")) if path.exists()]


def git_runs_in(root: Path) -> bool:
    """Is a process named git, other than ours, working in this checkout?"""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (each / "comm").read_text().strip() == "git" and Path(os.readlink(each / "cwd")).is_relative_to(
                root.resolve()
            ):
                return True
        except OSError:
            continue  # it has ended, or is not ours to see
    return False
