"""This machine's side: database and broker on the bridge, watcher and scheduler, and the commands that people give."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.core.management.base import CommandError

from portal.ledger.models import rows_of
from portal.stack import Stack, redis_server, scheduler, watcher
from portal.supervision import wait_until
from rollbacks.models import Rollback, System
from tests.hosts.host import OWNER, PROJECT
from tests.hosts.managed import Managed

PATIENCE = 60.0  # seconds
ASKED = ("--severity", "high", "--scope", "multiple", "--reason", "Answers 500 since 1.3.0")


@dataclass(frozen=True)
class Said:
    code: int
    out: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line, which is what scripts read."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


class Portal:
    """The portal of this process's settings, as people use it."""

    def manage(self, *words: object, code: int = 0) -> Said:
        """A command, in this process; AssertionError when it ends with another code."""
        said, ended = io.StringIO(), 0
        try:
            call_command(*[str(word) for word in words], stdout=said, stderr=said)
        except CommandError as error:
            said.write(str(error))
            ended = error.returncode
        except SystemExit as error:
            ended = int(error.code or 0)
        assert ended == code, f"{words} ended with {ended}: {said.getvalue()}"
        return Said(ended, said.getvalue())

    def add(self, managed: Managed) -> System:
        """Make the system known, and let its worker restart its unit: by the rule that the portal prints."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(managed.manifest)
            file.flush()
            self.manage("add_system", file.name)
        rule = self.manage("host_rights", managed.name, "--user", OWNER).out
        managed.host.write(f"/etc/polkit-1/rules.d/50-portal-{managed.name}.rules", rule)
        managed.host.settle()
        return System.objects.get(name=managed.name)

    def ask(self, managed: Managed, target: str = "v1.2.0", *words: object) -> Rollback:
        """A rollback, planned by the host's worker, that waits for approval."""
        said = self.manage("rollback", managed.name, "--to", target, *ASKED, *words, "--as", "oncall", "--json")
        return self.await_state(said.json["id"], "awaiting_approval")

    def approve(self, rollback: Rollback) -> None:
        self.manage("approve", rollback.pk, "--as", "techlead")

    def approved(self, managed: Managed) -> Rollback:
        """A worker is about to begin."""
        rollback = self.ask(managed)
        self.approve(rollback)
        return rollback

    def await_state(self, pk: int, *states: str) -> Rollback:
        """The rollback once it is in one of these states."""

        def there() -> bool:
            return Rollback.objects.get(pk=pk).state in states

        wait_until(there, PATIENCE, pause=0.05)
        rollback = Rollback.objects.get(pk=pk)
        assert rollback.state in states, f"{rollback} is {rollback.state}: {rollback.trouble}\n{self.story(rollback)}"
        return rollback

    def await_step(self, rollback: Rollback, name: str, state: str = "running") -> None:
        def there() -> bool:
            return rollback.run.steps.filter(name=name, state=state).exists()

        assert wait_until(there, PATIENCE, pause=0.005), f"{name} is not {state}\n{self.story(rollback)}"

    def tag(self, managed: Managed, name: str) -> str:
        """The commit of a tag, on the host."""
        return managed.host.as_owner("git", "-C", str(managed.root), "rev-parse", f"{name}^{{commit}}")

    def moves(self, rollback: Rollback) -> list[str]:
        """What the ledger has of it, the oldest first."""
        return [row.move for row in rows_of(rollback).order_by("number")]

    def printed(self, rollback: Rollback, step: str) -> str:
        """What the step said."""
        return "".join(rollback.run.steps.get(name=step).output.values_list("text", flat=True))

    def story(self, rollback: Rollback) -> str:
        """What an auditor reads, for the words of a failing test."""
        rows = [f"{row.move} {row.note} {row.details}" for row in rows_of(rollback).order_by("number")]
        steps = [f"{step.name} {step.state}: {step.trouble}" for step in rollback.run.steps.all()]
        said = [self.printed(rollback, step.name) for step in rollback.run.steps.all()]
        return "\n".join([*rows, *steps, *said])


# --- the parts ------------------------------------------------------------------------------------------------------


@contextmanager
def process(words: Sequence[str], folder: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """It runs until the block ends; what it says goes to a log in the folder."""
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log, **options) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(PATIENCE)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"portal-hosts-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def postgres(address: str, port: str) -> Iterator[None]:
    """Debian's PostgreSQL with a data directory of its own and an empty database “portal”."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    as_postgres: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"}
    with temporary_folder("postgres") as folder:
        shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        made = [binaries / "initdb", "--auth", "trust", "--username", "portal", "--no-sync", "-D", data]
        subprocess.run([str(word) for word in made], check=True, stdout=subprocess.DEVNULL, **as_postgres)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all portal {address}/24 trust\n")
        settings = [f"listen_addresses={address}", f"unix_socket_directories={folder}", "fsync=off"]
        words = [str(binaries / "postgres"), "-D", str(data), "-p", port]
        with process([*words, *(word for each in settings for word in ("-c", each))], folder, **as_postgres):
            first = f"host={address} port={port} user=portal dbname=postgres"
            assert wait_until(lambda: create_database(first), PATIENCE, pause=0.1), (folder / "log").read_text()
            yield


def create_database(first: str) -> bool:
    """False while nobody answers."""
    try:
        with psycopg.connect(first, autocommit=True) as connection:
            connection.execute("CREATE DATABASE portal")
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def redis(address: str, port: str) -> Iterator[None]:
    """It needs no waiting for: who finds no broker yet asks again."""
    with temporary_folder("redis") as folder:
        words = [redis_server(), "--bind", address, "--port", port, "--protected-mode", "no", "--save", ""]
        with process([*words, "--dir", str(folder)], folder):
            yield


@contextmanager
def watcher_and_scheduler(environment: Mapping[str, str]) -> Iterator[None]:
    """What hands runs on and asks for looks at health."""
    with temporary_folder("home") as home:
        stack = Stack(
            home, [watcher(), scheduler()], directory=PROJECT, environment={"PORTAL_HOME": str(home), **environment}
        )
        stack.start()
        try:
            stack.wait_ready(lambda text: None)
            yield
        finally:
            stack.stop()
