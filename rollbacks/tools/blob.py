"""What a commit holds, read with GitPython: a module of its own, because importing that takes longer than a switch."""

from __future__ import annotations

from pathlib import Path

from git import Repo
from git.exc import GitCommandError, ODBError


def content(root: Path, commit: str, path: str) -> bytes | None:
    """A file's content in a commit; None when it is not there."""
    with Repo(root) as repo:  # closed: it keeps a git process for reading
        try:
            blob = repo.commit(commit).tree / path
        except (KeyError, ValueError, GitCommandError, ODBError):
            return None
        return bytes(blob.data_stream.read()) if blob.type == "blob" else None
