"""Runs a command in its own process group: with a timeout, a way to stop it, and nothing of the portal's secrets.

Commands are argument lists. Only a manifest's commands are words for a shell: they are the owner's own (owner()).
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rollbacks.tools import ToolError, guard

TAIL = 64 * 1024  # characters of output that a Result keeps
PIPE = 1024 * 1024  # bytes that a pipe can still hold when its writer has ended; more is a child's child writing on
GRACE = 5.0  # seconds between TERM and KILL
POLL = 0.2  # seconds between two looks at `stopped`
KEPT = ("HOME", "LANG", "LC_ALL", "USER", "LOGNAME", "TZ", "TMPDIR", "SSH_AUTH_SOCK")
KEPT_FOR_GIT = (
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSH_COMMAND",
)  # says who it trusts


@dataclass(frozen=True)
class Result:
    args: tuple[str, ...]
    code: int
    output: str  # the last 64 KiB of standard output and error together
    seconds: float


class CommandFailed(ToolError):
    """The command ended with another code than 0."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class CommandTimeout(CommandFailed):
    """The command took too long and was ended."""


class CommandStopped(CommandFailed):
    """Somebody asked for the command to be stopped."""


def silent(text: str) -> None:
    pass


def never() -> bool:
    return False


def owner(words: str) -> list[str]:
    """A command of the manifest: the owner's own words, for the shell that the owner would type them into."""
    return ["/bin/sh", "-c", words]


def clean_environment(*, path_first: Path | None = None) -> dict[str, str]:
    """PATH, HOME and the like, and nothing else: the portal's secrets never reach a child.

    `path_first`: a virtual environment, whose bin comes first on PATH.
    """
    clean = {name: os.environ[name] for name in (*KEPT, *KEPT_FOR_GIT) if name in os.environ}
    clean |= {"PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "PYTHONUNBUFFERED": "1"}
    if path_first is not None:
        clean |= {"PATH": f"{path_first / 'bin'}:{clean['PATH']}", "VIRTUAL_ENV": str(path_first)}
    return clean


def run(
    args: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
    say: Callable[[str], None] = silent,
    stopped: Callable[[], bool] = never,
    groups: Path | None = None,
    check: bool = True,
) -> Result:
    """Run to the end, handing on output as it comes. `groups`: where the process group is noted for reap().

    Raises CommandFailed (also when it cannot be started), CommandTimeout after `timeout` seconds, CommandStopped.
    """
    guard.ask()
    began = time.monotonic()
    try:
        child = subprocess.Popen(
            list(args),
            cwd=cwd,
            env=dict(env if env is not None else clean_environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(
            f"{args[0]} cannot be started in {cwd}: {error}", Result(tuple(args), 127, "", 0)
        ) from error
    with noted(child.pid, groups):
        try:
            tail, why = follow(child, began + timeout, say, stopped)
        finally:  # also when `say` or `stopped` fail: nothing is left running unseen
            end_group(child)
    result = Result(tuple(args), child.returncode, tail, time.monotonic() - began)
    if why or (check and result.code != 0):
        complain(result, why, timeout)
    return result


def capture(args: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float) -> tuple[int, bytes, bytes]:
    """Run to the end; (code, standard output, standard error), whole. For what says little and is needed to the letter.

    Raises CommandFailed when it cannot be started, CommandTimeout after `timeout` seconds.
    """
    try:
        child = subprocess.Popen(
            list(args),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(
            f"{args[0]} cannot be started in {cwd}: {error}", Result(tuple(args), 127, "", 0)
        ) from error
    try:
        out, said = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        complain(Result(tuple(args), -1, "", timeout), "timeout", timeout)
    finally:
        if child.returncode is None:
            end_group(child)
    return child.returncode, out, said


def complain(result: Result, why: str, timeout: float) -> NoReturn:
    said = result.args[-1] if result.args[:2] == ("/bin/sh", "-c") else " ".join(result.args)
    if why == "timeout":
        raise CommandTimeout(f"“{said}” had not ended after {timeout:.0f} s and was ended.", result)
    if why == "stopped":
        raise CommandStopped(f"“{said}” was stopped.", result)
    last = next((line for line in reversed(result.output.splitlines()) if line.strip()), "it said nothing")
    raise CommandFailed(f"“{said}” ended with code {result.code}: {last[:300]}", result)


def follow(
    child: subprocess.Popen[bytes], deadline: float, say: Callable[[str], None], stopped: Callable[[], bool]
) -> tuple[str, str]:
    """Read until the child ends; returns the tail of its output, and "" | "timeout" | "stopped".

    The end is the child's own, not that of its pipe: a daemon that it left behind may hold the pipe for ever.
    """
    assert child.stdout is not None
    number = child.stdout.fileno()
    os.set_blocking(number, False)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    tail, looked, left = "", time.monotonic(), PIPE
    while True:
        ended = child.poll() is not None
        select.select([number], [], [], 0 if ended else POLL)
        chunk = read(number)
        left -= len(chunk or b"") if ended else 0
        if chunk and left > 0:
            text = decoder.decode(chunk).replace("\x00", "")
            tail = (tail + text)[-TAIL:]
            say(text)
        elif ended:
            return tail, ""
        elif chunk == b"":  # closed its output and still runs
            time.sleep(0.01)
        if (now := time.monotonic()) - looked >= POLL:
            looked = now
            if now > deadline:
                return tail, "timeout"
            if stopped():
                return tail, "stopped"


def read(number: int) -> bytes | None:
    """A chunk; b"" at the end of the pipe; None when there is nothing now."""
    try:
        return os.read(number, 65536)
    except BlockingIOError:
        return None


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the group: TERM, 5 s, KILL."""
    signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and (child.poll() is None or group_lives(child.pid)):
        time.sleep(0.01)
    signal_group(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def group_lives(group: int) -> bool:
    """Zombies do not count: in a container nobody may ever bury them."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return any(is_member(each, group) for each in Path("/proc").glob("[0-9]*"))


def is_member(process: Path, group: int) -> bool:
    try:
        state, _, its_group = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return its_group == str(group) and state not in ("Z", "X")


@contextmanager
def noted(pid: int, groups: Path | None) -> Iterator[None]:
    """While the command runs, a file named <pid>-<start time> says so."""
    if groups is None:
        yield
        return
    groups.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = groups / f"{pid}-{start_time(pid)}"
    note.touch()
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def start_time(pid: int) -> str:
    """The process's start in clock ticks since boot; "" when it is gone. With the pid it names one process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def reap(groups: Path) -> int:
    """Kill the process groups that a dead worker left behind; returns how many. Only those noted, and still theirs."""
    killed = 0
    for note in groups.glob("*-*") if groups.is_dir() else ():
        pid, _, started = note.name.partition("-")
        if pid.isdigit() and started and start_time(int(pid)) == started:
            signal_group(int(pid), signal.SIGKILL)
            killed += 1
        note.unlink(missing_ok=True)
    return killed
