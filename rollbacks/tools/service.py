"""Starts and stops the service. The time between a stop and a start is the outage, so nothing here waits in vain."""

from __future__ import annotations

import math
import os
import re
import select
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from xmlrpc.client import Error, Fault, ProtocolError, ServerProxy, Transport

from rollbacks.tools import ToolError, command, mask, probe
from rollbacks.tools.manifest import Service

POLL = 0.005  # seconds between two looks at a service that is about to stop or start
COPY = 1.0  # seconds that supervisor may take from its own copy to the program
PATIENCE = 10.0  # seconds for one answer of a service manager
SPOKEN = 2000  # bytes of the service's last words in an error
START_SECONDS = 240.0  # systemd ends a start by itself, after its TimeoutStartSec: 90 s unless the unit says otherwise
POLKIT = Path("/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service")  # systemd asks it, where it is
DENIED = re.compile("authentication required|access denied|password is required|not allowed|sudo", re.IGNORECASE)
GRANT = " The worker's user may not do it: `python manage.py host_rights SYSTEM` prints the rule that is missing."
UNIT_KINDS = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice", ".scope")
SPANS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "month": 2629800, "y": 31557600}


class ServiceError(ToolError):
    """The service manager refused, failed, or cannot be reached."""


@dataclass(frozen=True)
class Status:
    running: bool
    pid: int  # 0 when there is none
    detail: str


class Manager(Protocol):
    """Every call raises ServiceError when the service manager does not do it. Stopping the stopped is fine."""

    def status(self) -> Status: ...

    def start(self) -> None:
        """Returns as soon as there is a process; it may not answer yet."""

    def stop(self, timeout: float) -> None:
        """Returns when the process is gone, at most `timeout` seconds later."""

    def by_hand(self, verb: str) -> str:
        """The shell command for "start", "stop" or "status" that a person types."""


def for_service(service: Service) -> Manager:
    if service.manager == "supervisor":
        return Supervisor(service.unit, service.url)
    return Systemd(service.unit) if service.manager == "systemd" else Nobody()


class Nobody:
    """The owner starts the service by other means."""

    def status(self) -> Status:
        return Status(False, 0, "no service manager")

    def start(self) -> None:
        pass

    def stop(self, timeout: float) -> None:
        pass

    def by_hand(self, verb: str) -> str:
        return f"true   # no service manager: {verb} it as you usually do"


# --- systemd --------------------------------------------------------------------------------------------------------


class Systemd:
    """By systemctl. Who is not root has the rights of `manage.py host_rights`: polkit's where it is, else sudo's."""

    def __init__(self, unit: str) -> None:
        self.unit = unit_name(unit)

    def status(self) -> Status:
        found = self.show("LoadState", "MainPID", "ActiveState", "SubState", "Result")
        if found.get("LoadState") == "not-found":
            raise ServiceError(f"systemd knows no unit {self.unit}. Correct “unit” in the manifest.")
        state = found.get("ActiveState", "unknown")
        detail = f"{state} ({found.get('SubState', '')}), result {found.get('Result', '')}"
        # whatever is not at rest has a process, or is about to
        return Status(state not in ("inactive", "failed"), int(found.get("MainPID") or 0), detail)

    def start(self) -> None:
        began = time.monotonic()
        try:
            self.systemctl("start", timeout=START_SECONDS)
        except ServiceError:
            if not self.was_refused(began):
                raise
            self.systemctl("reset-failed", timeout=PATIENCE)
            self.systemctl("start", timeout=START_SECONDS)

    def was_refused(self, began: float) -> bool:
        """It failed too often of late, and was not even tried. (Result tells the earlier failure, so it cannot say.)"""
        found = self.show("ActiveState", "InactiveExitTimestampMonotonic")
        tried = int(found.get("InactiveExitTimestampMonotonic") or 0) / 1e6
        return found.get("ActiveState") == "failed" and tried < began

    def stop(self, timeout: float) -> None:
        """Longer than `timeout` only while the unit's own TimeoutStopSec lasts, after which systemd sends KILL."""
        own = seconds(self.show("TimeoutStopUSec").get("TimeoutStopUSec", ""))
        # ExecStop= has that time, and after it TERM has it again
        self.systemctl("stop", timeout=max(timeout, 2 * own + PATIENCE) if own != math.inf else timeout)
        if (now := self.status()).running:
            raise ServiceError(f"{self.unit} still runs after its stop: {now.detail}. By hand: {self.by_hand('stop')}")

    def by_hand(self, verb: str) -> str:
        return f"systemctl {verb} {shlex.quote(self.unit)}"

    def show(self, *names: str) -> dict[str, str]:
        words = ["systemctl", "show", "--property", ",".join(names), self.unit]
        said = self.run("show", words, PATIENCE)
        return dict(line.partition("=")[::2] for line in said.splitlines())

    def systemctl(self, verb: str, *, timeout: float) -> None:
        words = ["systemctl", "--no-ask-password", verb, self.unit]
        if os.geteuid() != 0 and not POLKIT.exists():
            words = ["sudo", "-n", "systemctl", verb, self.unit]  # to the letter as in the sudoers file
        self.run(verb, words, timeout)

    def run(self, verb: str, words: list[str], timeout: float) -> str:
        try:
            return command.run(words, cwd=Path("/"), timeout=timeout).output
        except command.CommandFailed as error:
            said = " ".join(error.result.output.split()) or str(error)
            right = GRANT if DENIED.search(said) else ""
            raise ServiceError(
                f"systemd did not {verb} {self.unit}: {said}{right} See `journalctl -u {shlex.quote(self.unit)} "
                f"-n 50`, and by hand: {self.by_hand('status' if verb == 'show' else verb)}"
            ) from error


def unit_name(unit: str) -> str:
    """A unit's whole name, as polkit and sudoers see it: systemctl takes “agents” for “agents.service”."""
    return unit if unit.endswith(UNIT_KINDS) else f"{unit}.service"


def seconds(span: str) -> float:
    """Of systemd's "1min 30s"; "infinity" is one. 0 when it says nothing."""
    if span == "infinity":
        return math.inf
    return sum(float(number) * SPANS.get(unit, 0) for number, unit in re.findall(r"([\d.]+)([a-z]+)", span))


# --- supervisor -----------------------------------------------------------------------------------------------------

STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL = 0, 10, 20, 30, 40, 100, 200
BAD_NAME, NOT_RUNNING, ALREADY_STARTED = 10, 70, 60


class Supervisor:
    def __init__(self, unit: str, url: str) -> None:
        self.unit, self.url = unit, url
        transport = SocketTransport(url.removeprefix("unix://")) if url.startswith("unix://") else PatientTransport()
        address = "http://supervisor/RPC2" if url.startswith("unix://") else f"{url.rstrip('/')}/RPC2"
        self.server = ServerProxy(address, transport)

    def status(self) -> Status:
        found = self.info()
        return Status(
            found["state"] in (STARTING, RUNNING, STOPPING, BACKOFF),  # in BACKOFF it is about to be started again
            found["pid"],
            f"{found['statename']} {found['description']}",
        )

    def start(self) -> None:
        if self.info()["state"] in (STOPPING, BACKOFF):  # it would take the start for done
            self.stop(PATIENCE)
        self.ask("startProcess", False, fine=ALREADY_STARTED)
        found = self.info()
        if found["state"] in (STARTING, RUNNING):
            self.await_program(found["pid"])
        else:
            raise ServiceError(self.last_words(f"{found['statename']}, {found['spawnerr'] or found['description']}"))

    def stop(self, timeout: float) -> None:
        """Waits for the process itself, then for supervisor to have seen it: only then does it accept a start."""
        deadline = time.monotonic() + timeout
        found, before = self.info(), -1
        while not (found["state"] in (STOPPED, FATAL) or (found["state"] == before == EXITED)):
            if found["state"] in (STARTING, RUNNING, BACKOFF):
                self.await_program(found["pid"])
                self.ask("stopProcess", False, fine=NOT_RUNNING)
            gone(found["pid"], deadline)
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.unit} (pid {found['pid']}) has not stopped after {timeout:g} s. Nothing was switched under "
                    f"it. Supervisor kills it after its stopwaitsecs. By hand: {self.by_hand('stop')}"
                )
            before, found = found["state"], self.info()  # asking wakes supervisor: it looks for dead children then

    def await_program(self, pid: int) -> None:
        """Wait until the process is the program (a few milliseconds), and no longer supervisor's own copy.

        The copy would swallow a TERM, and the service be killed only after its stopwaitsecs.
        """
        deadline = time.monotonic() + COPY
        daemon = probe.arguments(self.call("getPID"))
        while daemon and probe.arguments(pid) in (daemon, ()) and probe.process(pid) and time.monotonic() < deadline:
            time.sleep(0.001)

    def by_hand(self, verb: str) -> str:
        parts = urlsplit(self.url)
        shown = self.url.replace(f"{parts.netloc.rpartition('@')[0]}@", "") if "@" in parts.netloc else self.url
        return f"supervisorctl -s {shlex.quote(shown)} {verb} {shlex.quote(self.unit)}"

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("getProcessInfo")
        return found

    def ask(self, name: str, *args: object, fine: int | None = None) -> Any:
        """One call about our process; the fault `fine` is one that says: it is so already."""
        return self.call(name, self.unit, *args, fine=fine)

    def call(self, name: str, *args: object, fine: int | None = None) -> Any:
        with in_words(self):
            try:
                return getattr(self.server.supervisor, name)(*args)
            except Fault as fault:
                if fault.faultCode == fine:
                    return None
                raise

    def last_words(self, why: str) -> str:
        spoken = "".join(self.tail(name) for name in ("tailProcessStderrLog", "tailProcessStdoutLog"))
        said = "\n".join(line for line in spoken.splitlines()[-10:] if line.strip())
        return (
            f"Supervisor did not do it for {self.unit}: {why}. "
            f"Its last words: {said or 'none'}. By hand: {self.by_hand('start')}"
        )

    def tail(self, name: str) -> str:
        try:
            return str(getattr(self.server.supervisor, name)(self.unit, 0, SPOKEN)[0])
        except (Error, OSError, HTTPException):
            return ""


@contextmanager
def in_words(supervisor: Supervisor) -> Iterator[None]:
    try:
        yield
    except Fault as fault:
        if fault.faultCode == BAD_NAME:
            raise ServiceError(
                f"Supervisor knows no program {supervisor.unit}. Correct “unit” in the manifest: see "
                f"`{supervisor.by_hand('status').rpartition(' ')[0]}`."
            ) from fault
        raise ServiceError(supervisor.last_words(fault.faultString)) from fault
    except (OSError, HTTPException, Error) as error:
        # a refusal repeats the password, without the scheme by which a mask would know it
        why = f"{error.errcode} {error.errmsg}" if isinstance(error, ProtocolError) else error
        raise ServiceError(
            f"Supervisor cannot be reached at {mask.hide(supervisor.url)}: {why}. Nothing was started or stopped by "
            f"this. Start supervisord, or see who else may ask it: {supervisor.by_hand('status')}"
        ) from error


class PatientTransport(Transport):
    """An XML-RPC transport that does not wait for ever."""

    def make_connection(self, host: Any) -> HTTPConnection:
        made = super().make_connection(host)
        made.timeout = PATIENCE
        return made


class SocketTransport(PatientTransport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        return SocketConnection(self.path)


class SocketConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("supervisor", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def gone(pid: int, deadline: float) -> bool:
    """Wait until the process has ended, or one poll when there is none to wait for; False at the deadline."""
    try:
        number = os.pidfd_open(pid) if pid else -1
    except OSError:
        number = -1
    if number < 0:
        time.sleep(POLL)
        return True
    try:
        return bool(select.select([number], [], [], max(0, deadline - time.monotonic()))[0])
    finally:
        os.close(number)
