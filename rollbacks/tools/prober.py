"""Measures downtime: a process of its own asks the health URL every 100 ms through a whole run, whatever becomes of the
worker. `python -m rollbacks.tools.prober URL FILE EVERY` appends a JSON line to FILE at its start and at each change:
{"at": Unix seconds, "ok", "answered", "detail"}, and {"at", "end": true} as its last."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollbacks.tools import command, probe

SAMPLE_TIMEOUT = 1.0  # seconds
ABANDONED = 120.0  # seconds without the worker's heartbeat
LONGEST = 2 * 3600.0  # seconds
PATIENCE = 3.0  # seconds for it to start or end


@dataclass(frozen=True)
class Measured:
    since: float  # Unix seconds
    until: float
    down_seconds: float  # without a healthy answer
    outage_seconds: float  # without any answer
    ok_now: bool
    down_since: float | None  # Unix seconds, while it is down


def beside(file: Path, end: str) -> Path:
    return file.with_name(f"{file.name}.{end}")


# --- for the worker -------------------------------------------------------------------------------------------------


def start(url: str, file: Path, *, every: float = 0.1) -> None:
    """Start it, unless one runs for this file already; returns when it has asked once."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside(file, "stop").unlink(missing_ok=True)
    beside(file, "alive").touch()
    size = file.stat().st_size if file.exists() else 0
    child = subprocess.Popen(
        [sys.executable, "-m", "rollbacks.tools.prober", url, str(file), str(every)],
        env={**command.clean_environment(), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: child.poll() is not None or (file.exists() and file.stat().st_size > size))


def beat(file: Path) -> None:
    """The worker lives: go on."""
    beside(file, "alive").touch()


def stop(file: Path) -> None:
    """End it, and wait for its last line."""
    beside(file, "stop").touch()
    wait_for(lambda: not file.exists() or bool(lines(file)[-1:]) and "end" in lines(file)[-1])


def wait_for(done: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


def lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines; a torn last one (a power cut) is left out."""
    found = []
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def read(file: Path, *, now: float | None = None) -> Measured:
    """What was measured so far. Between two lines the state is that of the earlier one."""
    found = lines(file)
    if not found:
        return Measured(0, 0, 0, 0, False, None)
    until = found[-1]["at"] if "end" in found[-1] else max(now or time.time(), found[-1]["at"])
    down = outage = 0.0
    down_since: float | None = None
    for sample, following in zip(found, [*found[1:], {"at": until}], strict=True):
        seconds = max(0.0, following["at"] - sample["at"])
        if "end" in sample:
            continue
        down += 0 if sample["ok"] else seconds
        outage += 0 if sample["answered"] else seconds
        down_since = None if sample["ok"] else (down_since or sample["at"])
    samples = [each for each in found if "ok" in each]
    return Measured(found[0]["at"], until, down, outage, bool(samples[-1]["ok"]), down_since)


# --- the process ----------------------------------------------------------------------------------------------------


def main(url: str, file: Path, every: float) -> None:
    with beside(file, "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # one asks already
        with file.open("a", buffering=1) as out:
            sample(url, file, every, out)


def sample(url: str, file: Path, every: float, out: Any) -> None:
    began = due = time.monotonic()
    before: tuple[bool, bool] | None = None
    while not over(file, began):
        asked = time.time()
        seen = probe.health(url, SAMPLE_TIMEOUT)
        if (seen.ok, seen.answered) != before:
            before = (seen.ok, seen.answered)
            line = {"at": asked, "ok": seen.ok, "answered": seen.answered, "detail": seen.detail}
            out.write(json.dumps(line) + "\n")
        due = max(due + every, time.monotonic() - every)
        time.sleep(max(0.0, due - time.monotonic()))
    out.write(json.dumps({"at": time.time(), "end": True}) + "\n")


def over(file: Path, began: float) -> bool:
    if beside(file, "stop").exists() or time.monotonic() - began > LONGEST:
        return True
    alive = beside(file, "alive")
    return not alive.exists() or time.time() - alive.stat().st_mtime > ABANDONED


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
