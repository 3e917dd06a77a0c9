"""The fencing token on the host: a worker that was superseded, or another portal's, is refused where it would write."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollbacks.tools import ToolError, files


class Superseded(ToolError):
    """A higher token is written on the host: somebody else works here now."""


def hold(state_dir: Path, token: int, holder: str) -> None:
    """Write the token. Raises Superseded when a higher one is there, or the same one of another holder."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(state_dir):
        found, other = read(state_dir)
        if found > token or (found == token and other != holder):
            raise Superseded(refusal(state_dir, found, token, other))
        if found < token:
            content = json.dumps({"token": token, "holder": holder, "at": time.time()})
            files.write(state_dir / "fence", content.encode(), 0o600)


def check(state_dir: Path, token: int) -> None:
    """Raises Superseded when a higher token is written."""
    found, other = read(state_dir)
    if found > token:
        raise Superseded(refusal(state_dir, found, token, other))


def refusal(state_dir: Path, found: int, token: int, other: str) -> str:
    return (
        f"Another worker holds this system: {state_dir / 'fence'} has token {found} ({other or 'unknown'}), ours is "
        f"{token}. Nothing more was changed. If two portals manage this host, let only one of them do it; if the "
        "other is gone for good, remove that file, and try again."
    )


def read(state_dir: Path) -> tuple[int, str]:
    path = state_dir / "fence"
    try:
        written = json.loads(path.read_text())
        return int(written["token"]), str(written.get("holder", ""))
    except FileNotFoundError:
        return 0, ""
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{path} cannot be read ({error}). Nothing was changed. Make sure that no other worker is at work on this "
            "system, remove the file, and try again."
        ) from error


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    with (state_dir / "fence.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
