"""Looks at what really runs: does it answer, which process is it, is that worker dead? Never at what a file says."""

from __future__ import annotations

import http.client
import os
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

MOST = 64 * 1024  # bytes of an answer that are read
SHOWN = 120  # characters of an answer that are shown


@dataclass(frozen=True)
class Health:
    ok: bool  # 200 to 299
    answered: bool  # False: refused, timed out, not HTTP
    status: int  # 0 when there was no answer
    ms: float
    detail: str


@dataclass(frozen=True)
class Process:
    pid: int
    started: float  # seconds since the host's boot, exact to 0.01 s, never too late
    cwd: str  # "" when it is not ours to see
    exe: str
    args: tuple[str, ...]


# --- health ---------------------------------------------------------------------------------------------------------


def health(url: str, timeout: float = 2.0) -> Health:
    """Ask the URL once: no proxy, no redirect followed, `timeout` seconds for each wait and for the whole body.

    Never raises.
    """
    began = time.perf_counter()
    try:
        status, body = get(urlsplit(url), timeout)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Health(False, False, 0, elapsed(began), why(error, timeout))
    ms = elapsed(began)
    if 200 <= status < 300:
        return Health(True, True, status, ms, f"{status} in {ms:.0f} ms")
    line = next((each.strip() for each in body.decode(errors="replace").splitlines() if each.strip()), "empty answer")
    return Health(False, True, status, ms, f"{status}: {line[:SHOWN]}")


def elapsed(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def get(url: SplitResult, timeout: float) -> tuple[int, bytes]:
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if url.scheme not in kinds or not url.hostname:
        raise ValueError(f"{url.geturl()!r} is no http address")
    connection = kinds[url.scheme](url.hostname, url.port, timeout=timeout)
    try:
        path = url.path or "/"
        connection.request("GET", f"{path}?{url.query}" if url.query else path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, read(response, time.monotonic() + timeout)
    finally:
        connection.close()


def read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    body = b""
    while len(body) < MOST and (chunk := response.read1(MOST - len(body))):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return body


def why(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionError):
        return "connection closed without an answer"
    return str(error)[:SHOWN] or type(error).__name__


# --- processes ------------------------------------------------------------------------------------------------------


def process(pid: int) -> Process | None:
    """What runs under this pid; None when it is gone, or only its zombie is left."""
    state, ticks = stat(pid)
    if state in ("", "Z", "X"):
        return None
    return Process(pid, int(ticks) / os.sysconf("SC_CLK_TCK"), link(pid, "cwd"), link(pid, "exe"), arguments(pid))


def stat(pid: int) -> tuple[str, str]:
    """(state, start in clock ticks since boot); empty when it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def link(pid: int, name: str) -> str:
    try:
        return str(Path(f"/proc/{pid}/{name}").readlink())
    except OSError:
        return ""


def arguments(pid: int) -> tuple[str, ...]:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(each) for each in said.rstrip(b"\0").split(b"\0")) if said else ()


# --- whose process is it --------------------------------------------------------------------------------------------


def identity() -> str:
    """This process, told from every other that ever was: boot, pid namespace, pid and start."""
    return f"{boot()}:{namespace()}:{os.getpid()}:{stat(os.getpid())[1]}"


def uptime() -> float:
    """Seconds since the host's boot: a clock that nobody sets, and by which the kernel tells a process's start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def is_dead(identity: str) -> bool:
    """True only when it can be known: same boot, same pid namespace, and that very process does not run any more."""
    where, _, rest = identity.rpartition(":")[0].rpartition(":")
    started = identity.rpartition(":")[2]
    try:
        if where != f"{boot()}:{namespace()}" or not (rest.isdecimal() and started.isdecimal()):
            return False
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it runs, and is somebody else's
    except (OSError, OverflowError):
        return False
    state, found = stat(int(rest))
    return state in ("Z", "X") or (found != "" and found != started)
