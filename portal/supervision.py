"""A supervisord of ours: its configuration, and what can be asked of it while it runs.

Two of them exist: the one that keeps the portal's own parts alive (stack.py), and the sample's service manager.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from shlex import quote
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

SOCKET_PATH_BYTES = 100  # a Unix socket's path may have 107, and supervisord first makes one with its pid appended


@dataclass(frozen=True)
class Program:
    """One program that is kept alive."""

    name: str
    command: Sequence[str]
    options: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Process:
    """What supervisord says of a program now."""

    name: str
    state: str
    pid: int


def short_socket(path: Path) -> Path:
    """The path itself, or a short one in the temporary directory where the system would refuse its length."""
    if len(str(path).encode()) < SOCKET_PATH_BYTES - len(f".{2**22}"):
        return path
    name = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"portal-{os.getuid()}-{name}.sock"


def escaped(value: object) -> str:
    """A value for supervisord's configuration, which would expand a percent sign."""
    return str(value).replace("%", "%%")


def section(title: str, options: Mapping[str, object]) -> str:
    """One section of the configuration file."""
    return "\n".join([f"[{title}]", *(f"{key}={escaped(value)}" for key, value in options.items()), ""])


def program_section(program: Program, directory: Path, log: Path) -> str:
    """One program, with its output in one log that cannot fill the disk."""
    options: dict[str, object] = {
        "command": " ".join(quote(word) for word in program.command),
        "directory": directory,
        "autorestart": "true",
        "redirect_stderr": "true",
        "stdout_logfile": escaped(log),  # supervisord expands this one twice
        "stdout_logfile_maxbytes": "5MB",
        "stdout_logfile_backups": 2,
    }
    return section(f"program:{program.name}", options | dict(program.options))


class Supervisor:
    """A supervisord, known by its configuration file and its socket."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.socket = short_socket(config.with_suffix(".sock"))

    def configure(self, sections: Sequence[str]) -> None:
        """Writes the configuration: readable by its owner only, and never half a file."""
        own = [
            section("unix_http_server", {"file": self.socket, "chmod": "0600"}),
            section(
                "supervisord",
                {
                    "logfile": self.config.with_suffix(".log"),
                    "logfile_maxbytes": "1MB",
                    "logfile_backups": 1,
                    "pidfile": self.config.with_suffix(".pid"),
                    "silent": "true",
                },
            ),
            section(
                "rpcinterface:supervisor",
                {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
            ),
            section("supervisorctl", {"serverurl": f"unix://{self.socket}"}),
        ]
        made = self.config.with_suffix(".new")
        made.touch(mode=0o600)
        made.write_text("\n".join([*own, *sections]))
        made.replace(self.config)

    def call(self, method: str, *words: object) -> Any:
        """Calls one method of supervisord. OSError where there is none, xmlrpc.client.Fault where it refuses."""
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*words)
        except HTTPException as error:
            raise ConnectionError(f"{self.socket}: {error!r}") from error

    def answers(self) -> bool:
        """Whether it runs."""
        try:
            return bool(self.call("getState")["statename"] == "RUNNING")
        except OSError:
            return False

    def pid(self) -> int | None:
        """Its process; None where it does not run."""
        try:
            return cast(int, self.call("getPID"))
        except OSError:
            return None

    def processes(self) -> list[Process]:
        """Every program as it is now; none where supervisord itself does not run."""
        try:
            rows = self.call("getAllProcessInfo")
        except OSError:
            return []
        return [Process(row["name"], row["statename"], row["pid"]) for row in rows]

    def restart(self, name: str) -> None:
        """Stops the program where it runs, and starts it."""
        if any(
            process.name == name and process.state in ("STARTING", "RUNNING", "BACKOFF") for process in self.processes()
        ):
            self.call("stopProcess", name)
        self.call("startProcess", name, False)

    def shutdown(self, seconds: float = 45) -> None:
        """Ends it with everything under it, and waits until it is gone. Nothing to do where it does not run."""
        pid = self.pid()
        if pid is None:
            return
        self.call("shutdown")
        if not wait_until(lambda: not alive(pid), seconds):
            raise TimeoutError(f"supervisord (process {pid}) did not end within {seconds:.0f} s: see {self.config}")


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(holds: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Asks until it holds; False when it did not within the time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
