"""A portal that runs, its sample that can be broken in a second, and what an auditor would look for afterwards."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from portal.sample import control, layout
from portal.stack import address, last_lines, port_is_free, status_of
from portal.supervision import Process, Supervisor, wait_until
from tests.processes.driver import PROJECT, Driver

PASSED_ON = ("PATH", "HOME", "LANG", "DATABASE_URL", "REDIS_URL")
GOOD = "v1.2.0"
SUITE = '"invoke test"'  # in the sample's manifest
SMOKE = 'smoke = "'
STEPS = ("preflight", "safety", "tree", "environment", "try", "switch", "process", "health", "record")

# While there is a file `slow`, git and the system's own commands are as on a slow machine: then even the shortest step
# lasts long enough to be hit.
SLOW_GIT = """#!/bin/sh
[ -e "{slow}" ] && sleep 0.25
exec {git} "$@"
"""

# The system's own tests; a second run at the same time would be written down.
TRY = """#!/bin/sh
exec 9>"$0.lock"
flock -n 9 || {{ echo "two at once" >>"$0.two"; exit 1; }}
[ -e "{slow}" ] && sleep 1
invoke test
"""


class Portal:
    """The portal in `home`, started by `up`."""

    def __init__(self, home: Path, port: int, environment: dict[str, str]) -> None:
        self.home, self.port, self.environment = home, port, environment
        self.url = address(port)
        self.sample = home / "sample"
        self.root = layout.root(self.sample)
        self.slow = home / "slow"
        self.supervisor = Supervisor(home / "stack.conf")
        self.driver = Driver(environment)
        self.ask = self.driver.ask

    # --- the sample ---

    def prepare_sample(self) -> None:
        """Deploys the bad release once, and keeps its environment, so that it can be deployed again in a second."""
        control.deploy_bad(self.sample)
        (self.root / ".venv").rename(self.sample / "bad-environment")
        (self.root / ".venv").symlink_to("../bad-environment")
        tests = self.sample / "try.sh"
        tests.write_text(TRY.format(slow=self.slow))
        text = (self.sample / "system.toml").read_text()
        assert text.count(SUITE) == text.count(SMOKE) == 1
        text = text.replace(SUITE, json.dumps(f"sh {tests}"))
        self.ask("add", text=text.replace(SMOKE, f"{SMOKE}test ! -e {self.slow} || sleep 0.5; "))

    def break_sample(self) -> None:
        """The bad release is deployed, and answers 500."""
        self.ask("make_way", system=layout.NAME)
        layout.git(self.root, "checkout", "--quiet", "--force", "-B", "main", layout.BAD_BRANCH)
        live = self.root / ".venv"
        live.unlink()
        live.symlink_to("../bad-environment")
        layout.supervisor(self.sample).restart(layout.PROGRAM)
        assert wait_until(lambda: self.health() == 500, 20), f"the bad release answers {self.health()}"

    def health(self) -> int:
        """The status that the service answers now; 0 when it does not."""
        return status_of(layout.health_url(self.sample))

    def service(self) -> Process:
        """As its manager sees it."""
        return layout.supervisor(self.sample).processes()[0]

    def forget_environments(self) -> None:
        """What was built for a release is gone: it has to be built again, which takes seconds."""
        shutil.rmtree(self.root / ".rollback" / "environments", ignore_errors=True)

    # --- rollbacks ---

    def ask_for_rollback(self) -> tuple[int, int]:
        """(rollback, run)"""
        asked = self.ask("request", system=layout.NAME, target=GOOD)
        return asked["rollback"], asked["run"]

    def approved_rollback(self) -> tuple[int, int]:
        """(rollback, run): of a sample just broken, planned and approved; a worker is about to begin."""
        self.break_sample()
        rollback, run = self.ask_for_rollback()
        self.ask("await_state", rollback=rollback, states=["awaiting_approval"])
        self.ask("approve", rollback=rollback)
        return rollback, run

    def freeze(
        self, run: int, step: str, *, state: str = "running", whole: bool = False, after: float = 0.1
    ) -> dict[str, Any]:
        """Stops the run's worker in that step: {"token", "pids"}."""
        words = {"step": step, "state": state, "whole": whole, "after": after, "slow": str(self.slow)}
        return dict(self.ask("freeze", run=run, **words))

    def pid(self, part: str) -> int:
        """The main process of a part of the portal; 0 while there is none."""
        return next((each.pid for each in self.supervisor.processes() if each.name == part), 0)

    def processes(self, part: str) -> list[int]:
        return list(self.ask("family", pid=self.pid(part)))

    # --- afterwards ---

    def check(self, run: int) -> dict[str, Any]:
        """What holds at the end of every run, however often it changed hands; returns its story."""
        story: dict[str, Any] = self.ask("story", run=run)
        check_hands(story)
        assert self.ask("verify_ledger")["sound"]
        assert wait_until(lambda: not self.left_behind(), 5), self.left_behind()
        assert not (self.sample / "try.sh.two").exists(), "two workers ran the system's tests at the same time"
        return story

    def left_behind(self) -> list[str]:
        """What a run must not leave on the host: processes, half-made things, locks."""
        service = self.service().pid
        found = [f"process {pid}: {words}" for pid, words in self.processes_in_checkout() if pid != service]
        own = self.root / ".rollback"
        found += [f"command {each.name}" for each in own.glob("commands/*")]
        found += [f"stage {each.name}" for each in own.glob("stage/*")]
        found += [each.name for each in (self.root / ".git").glob("*.lock")]
        found += [each.name for each in (self.sample / "backups").glob(".*.partial")]
        trees = layout.git(self.root, "worktree", "list", "--porcelain").count("worktree ")
        return found + ([f"{trees} work trees"] if trees != 1 else [])

    def processes_in_checkout(self) -> Iterator[tuple[int, str]]:
        for each in Path("/proc").glob("[0-9]*"):
            try:
                words = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if Path(os.readlink(each / "cwd")).is_relative_to(self.root) or f"{self.root}/.rollback" in words:
                    yield int(each.name), words
            except OSError:
                continue

    def switches(self, story: dict[str, Any], direction: str = "there") -> str:
        """What the switches of a run printed: each outage has its "stopped in"."""
        printed = self.root / ".rollback" / "switches" / f"{story['safety_tag']}-{direction}.out"
        return printed.read_text() if printed.exists() else ""

    def wait_for_switches(self, count: int) -> None:
        """Until so many switches run: one works, the others wait for it."""

        def running() -> list[str]:
            found = (words for _, words in self.processes_in_checkout())
            return [words for words in found if "rollbacks.procedures.switcher" in words]

        assert wait_until(lambda: len(running()) == count, 10), running()

    def worker_log(self) -> str:
        return (self.home / "logs" / "worker.log").read_text(errors="replace")


def check_hands(story: dict[str, Any]) -> None:
    """Never two workers in one step: a token, once followed by a higher one, has written nothing more; and each step
    was brought to its end once, by the last one that had it."""
    tokens = [row["token"] for row in story["ledger"] if row["token"] is not None]
    assert tokens == sorted(tokens), f"an older worker wrote after a newer one: {story['ledger']}"
    for step in story["steps"]:
        ends = [row["token"] for row in story["ledger"] if row["move"] == f"step {step['name']} done"]
        undone = [row["token"] for row in story["ledger"] if row["move"] == f"step {step['name']} undone"]
        assert len(ends) <= 1 >= len(undone), f"{step['name']} ended more than once: {story['ledger']}"
        if ends or undone:
            assert step["token"] == (undone or ends)[0], f"{step['name']} was ended by another than its last worker"


# --- starting it ----------------------------------------------------------------------------------------------------


@contextmanager
def running_portal(changes: Mapping[str, str] | None = None) -> Iterator[Portal]:
    """The portal in a new folder, on free ports, with the sample broken and ready; all of it is ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="portal-processes-"))
    kept = [name for name in os.environ if name in PASSED_ON or name.startswith(("PIP_", "UV_", "SSL_"))]
    environment = {name: os.environ[name] for name in kept} | dict(changes or {})
    environment |= {"PORTAL_HOME": str(home), "PORTAL_DEMO": "on", "DJANGO_SETTINGS_MODULE": "portal.settings"}
    environment["PATH"] = f"{make_slow_git(home)}{os.pathsep}{environment['PATH']}"
    with own_database(environment), up(home, environment) as portal:
        portal.prepare_sample()
        yield portal
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def up(home: Path, environment: dict[str, str]) -> Iterator[Portal]:
    """manage.py up, until the block ends. What it said is shown when it does not come up."""
    port = next(number for number in range(8800, 8900) if port_is_free(number))
    said = home / "up.out"
    started = subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(port)],
        cwd=PROJECT,
        env=environment,
        stdout=said.open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        ready = wait_until(lambda: started.poll() is not None or "The portal is ready" in said.read_text(), 120, 0.1)
        assert ready, last_lines(said)
        assert started.poll() is None, last_lines(said)
        portal = Portal(home, port, environment)
        yield portal
        portal.driver.end()
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
        started.wait(90)


def make_slow_git(home: Path) -> Path:
    """A folder for PATH with the git that can be slowed down."""
    folder = home / "bin"
    folder.mkdir()
    wrapper = folder / "git"
    wrapper.write_text(SLOW_GIT.format(slow=home / "slow", git=shutil.which("git")))
    wrapper.chmod(0o755)
    return folder


@contextmanager
def own_database(environment: dict[str, str]) -> Iterator[None]:
    """On a server that was given, a database of our own; else the portal makes its own in its folder."""
    given = environment.get("DATABASE_URL", "")
    if not given.startswith("postgres"):
        environment.pop("DATABASE_URL", None)
        yield
        return
    name = f"portal_processes_{secrets.token_hex(6)}"
    environment["DATABASE_URL"] = urlsplit(given)._replace(path=f"/{name}").geturl()
    with psycopg.connect(given, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
