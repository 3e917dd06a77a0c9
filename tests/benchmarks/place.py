"""A portal's home for a benchmark: the sample laid out in it and, when asked for, all that `make up` starts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.sample import control, layout
from portal.stack import port_is_free
from tests.benchmarks.driver import PROJECT, Driver, environment

GOOD, RELEASE = "v1.2.0", "1.2.0"
TESTS = "sleep 1.5 && invoke test"  # a test suite of about two seconds


class Place:
    """A portal's home with its sample in it, laid out and known to the portal."""

    def __init__(self, home: Path, database: str = "") -> None:
        """`database`: its URL; else it is SQLite, in this home."""
        self.home = home
        self.sample = home / "sample"
        self.environment = environment(home) | ({"DATABASE_URL": database} if database else {})
        self.driver = Driver(self.environment)

    @property
    def root(self) -> Path:
        return layout.root(self.sample)

    @property
    def port(self) -> int:
        return int(layout.health_url(self.sample).rpartition(":")[2].partition("/")[0])

    def introduce(self, tests: str = TESTS) -> None:
        """Make the sample known, with this as the command that tests it (words for a shell, without a quote ')."""
        text = (self.sample / "system.toml").read_text().replace('test = "invoke test"', f"test = '{tests}'")
        assert tests in text
        self.driver.ask("add", text=text)


@contextmanager
def laid_out(database: str = "") -> Iterator[Place]:
    """A place of one's own, and nothing left of it afterwards."""
    home = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    here = Place(home, database)
    try:
        port = next(number for number in range(8900, 9000) if port_is_free(number))
        layout.lay_out(here.sample, say=lambda text: None, health_port=port)
        here.driver.ask("prepare")
        here.introduce()
        yield here
    finally:
        here.driver.end()
        control.stop_supervisor(here.sample)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running_portal(place: Place) -> Iterator[int]:
    """`make up` on this home: broker, workers, scheduler, web, and the sample. Gives the port of the pages."""
    control.stop_supervisor(place.sample)
    port = next(number for number in range(9000, 9100) if port_is_free(number) and port_is_free(number + 10))
    said = place.home / "up.out"
    with said.open("w") as out:
        up = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port)],
            cwd=PROJECT,
            env=place.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while "The portal is ready" not in said.read_text():
            assert up.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        yield port
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(90)
