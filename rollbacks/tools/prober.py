"""Measures the downtime: a process of its own asks the health URL every 100 ms, and outlives the worker.

`python -m rollbacks.tools.prober FILE EVERY`, with the URL in its environment (it may hold a token, and everybody on
the host can read a command line), appends a JSON line to FILE at its start and at each change:
{"at": unix seconds, "ok": true, "answered": true, "detail": "200 in 3 ms"}, and {"at": …, "end": true} at its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollbacks.tools import command, probe

PATIENCE = 1.0  # seconds for one answer
FORGOTTEN = 120.0  # seconds without a heartbeat after which nobody is interested any more
LONGEST = 2 * 3600.0  # seconds
WAIT = 3.0  # seconds for the prober to begin or to end
LOOK = 0.01  # seconds between two looks at it
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    since: float  # unix seconds; 0 when nothing was measured
    until: float
    down_seconds: float  # not ok
    outage_seconds: float  # not answered
    ok_now: bool
    down_since: float | None  # unix seconds


# --- for the worker -------------------------------------------------------------------------------------------------


def start(url: str, file: Path, *, every: float = 0.1) -> None:
    """Start measuring, unless it runs already; returns with the first sample written, or after 3 s without.

    `every`: seconds. Without a URL there is nothing to measure.
    """
    if not url:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside(file, "stop").unlink(missing_ok=True)
    beside(file, "alive").touch()
    if is_running(file):
        return
    before = size(file)
    subprocess.run(
        [sys.executable, "-m", "rollbacks.tools.prober", str(file), str(every)],
        cwd=PROJECT,
        env={**command.clean_environment(), "PYTHONPATH": str(PROJECT), "HEALTH_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )
    wait_until(lambda: size(file) > before)


def beat(file: Path) -> None:
    """The worker lives: go on measuring."""
    if file.exists():
        beside(file, "alive").touch()


def stop(file: Path) -> None:
    """End the measuring; returns with the end written, after at most 3 s. One that has died is ended in its stead."""
    if not file.exists():
        return
    beside(file, "stop").touch()
    wait_until(lambda: has_ended(file) or not is_running(file))
    with alone(file) as ours:
        if ours and not has_ended(file):
            append(file, {"at": time.time(), "end": True})


def read(file: Path, *, now: float | None = None) -> Measured:
    """What was measured until its end, or until `now` (unix seconds). Between two lines the earlier one holds."""
    found = list(lines(file))
    samples = [each for each in found if "ok" in each]
    if not samples:
        return Measured(0, 0, 0, 0, False, None)
    until = found[-1]["at"] if "end" in found[-1] else max(found[-1]["at"], time.time() if now is None else now)
    down = outage = 0.0
    down_since = None
    for each, following in zip(samples, [*(later["at"] for later in samples[1:]), until], strict=True):
        lasted = max(0.0, following - each["at"])
        down += 0.0 if each["ok"] else lasted
        outage += 0.0 if each["answered"] else lasted
        down_since = None if each["ok"] else (down_since or each["at"])
    return Measured(samples[0]["at"], until, down, outage, bool(samples[-1]["ok"]), down_since)


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole: a torn one is skipped."""
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("at"), float | int) and found.keys() & {"ok", "end"}:
            yield {"answered": found.get("ok"), **found}


def has_ended(file: Path) -> bool:
    found = list(lines(file))
    return bool(found) and "end" in found[-1]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not true() and time.monotonic() < deadline:
        time.sleep(LOOK)


def is_running(file: Path) -> bool:
    with alone(file) as ours:
        return not ours


@contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Hold the lock of the file, if nobody else does."""
    with beside(file, "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.name}.{what}")


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


# --- the process ----------------------------------------------------------------------------------------------------


def main(url: str, file: Path, every: float) -> None:
    if os.fork():  # the worker need not wait for us, nor bury us
        return
    with alone(file) as ours:
        if ours:
            measure(url, file, every)


def measure(url: str, file: Path, every: float) -> None:
    began, offset = time.monotonic(), time.time() - time.monotonic()  # a clock that is set meanwhile does not matter
    known = None
    while wanted(file) and time.monotonic() - began < LONGEST:
        asked = time.monotonic()
        seen = probe.health(url, PATIENCE)
        if (seen.ok, seen.answered) != known:
            known = seen.ok, seen.answered
            at = offset + (time.monotonic() if seen.ok else asked)  # the longer downtime is the honest one
            append(file, {"at": at, "ok": seen.ok, "answered": seen.answered, "detail": seen.detail})
        time.sleep(every - (time.monotonic() - began) % every)
    append(file, {"at": offset + time.monotonic(), "end": True})


def wanted(file: Path) -> bool:
    try:
        heard = beside(file, "alive").stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - heard < FORGOTTEN and not beside(file, "stop").exists()


def append(file: Path, line: dict[str, Any]) -> None:
    """One whole line, in one write; a line that was torn before is ended first."""
    with file.open("ab+") as out:
        torn = out.tell() > 0 and (out.seek(-1, os.SEEK_END), out.read(1))[1] != b"\n"
        out.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main(os.environ["HEALTH_URL"], Path(sys.argv[1]), float(sys.argv[2]))
