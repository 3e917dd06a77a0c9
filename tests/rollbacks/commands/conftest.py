"""Commands as a person or a script gives them: the words, what is printed, and the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.core.management import ManagementUtility
from django.core.management.base import CommandError
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0  # seconds for a command, on a machine that has other things to do
HEARS_CTRL_C = ("env", "--default-signal=INT")  # also where the tests run in the background, and are told to ignore it
T = TypeVar("T")
NOBODY = "redis://127.0.0.1:1/0"  # where no broker listens


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of standard output, which is what scripts read."""
        said: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return said


Give = Callable[..., Said]


@pytest.fixture
def give(capsys: pytest.CaptureFixture[str]) -> Give:
    """A command in this process, as manage.py would run it: give("approve", 7, "--as", "techlead")."""

    def run(name: str, *words: object) -> Said:
        command = ManagementUtility().fetch_command(name)
        command._called_from_command_line = True  # type: ignore[attr-defined]  # words that are wrong exit with 2
        capsys.readouterr()
        code = 0
        try:
            options = vars(command.create_parser("manage.py", name).parse_args([str(word) for word in words]))
            options.pop("args", None)
            command.execute(**{**options, "skip_checks": True})
        except CommandError as error:
            command.stderr.write(str(error))
            code = error.returncode
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Said(code, *capsys.readouterr())

    return run


class Begun:
    """A command that runs, as a process of its own."""

    def __init__(self, words: list[str], environment: dict[str, str], home: Path) -> None:
        self.out, self.err = home / "stdout", home / "stderr"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*HEARS_CTRL_C, sys.executable, "manage.py", *words],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def until(self, look: Callable[[], T | None]) -> T:
        """What it has brought about, once it is there."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert time.monotonic() < deadline, f"it did not come to it: {self.said()}"
            time.sleep(0.05)
        return found

    def until_said(self, text: str) -> None:
        self.until(lambda: text in self.out.read_text())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def ended(self) -> Said:
        self.process.wait(PATIENCE)
        return self.said()

    def said(self) -> Said:
        return Said(self.process.poll() or 0, self.out.read_text(), self.err.read_text())


class Manage:
    """The real thing: `python manage.py …` as a process of its own on the test's database, with no broker at all."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PORTAL"))},
            "DATABASE_URL": database_url(),
            "PORTAL_HOME": str(home),
            "REDIS_URL": NOBODY,
            "USER": "nobody-here",
            "LOGNAME": "nobody-here",
        }

    def __call__(self, *words: object) -> Said:
        with self.begun(*words) as command:
            return command.ended()

    @contextmanager
    def begun(self, *words: object) -> Iterator[Begun]:
        command = Begun([str(word) for word in words], self.environment, self.home)
        try:
            yield command
        finally:
            command.process.kill()
            command.process.wait()


@pytest.fixture
def manage(transactional_db: None, tmp_path: Path) -> Manage:
    home = tmp_path / "home"
    home.mkdir()
    return Manage(home)


def database_url() -> str:
    """Where this test's rows are."""
    known = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{known['NAME']}"
    password = f":{known['PASSWORD']}" if known["PASSWORD"] else ""
    return f"postgres://{known['USER']}{password}@{known['HOST']}:{known['PORT']}/{known['NAME']}"
