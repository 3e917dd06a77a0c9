"""What the engine itself costs: the time of a run that is not its steps' own, and the way of a line onto the page."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from portal.sample import control, layout
from tests.benchmarks import report
from tests.benchmarks.place import GOOD, Place, laid_out, running_portal
from tests.benchmarks.reader import Reader

ROUNDS = 5
OVERHEAD = 0.050  # seconds a step
LATENCY = 1.0  # seconds from being printed to being on the page, for 95 % of all lines
TICKS = 200
TICKING = f'python -c "import time; [print(time.time(), flush=True) or time.sleep(0.05) for _ in range({TICKS})]"'
OPEN = [1, 5]  # pages that are open on the same rollback at the same time


def test_engine(request: pytest.FixtureRequest) -> None:
    with laid_out() as place:
        found = {f"SQLite{way}": each for way, each in ways(place).items()}
        with running_portal(place) as port:
            place.introduce(TICKING)
            waited = {pages: latency(place, port, pages) for pages in OPEN}
    if connection.vendor == "postgresql":
        with laid_out(postgres(request)) as place:
            found |= {f"PostgreSQL{way}": each for way, each in ways(place).items()}

    told(found, waited)
    for way, rounds in found.items():
        assert report.middle([over(each) for each in rounds]) < OVERHEAD, way
    for pages, seconds in waited.items():
        assert len(seconds) == pages * TICKS, "every line was seen, on every page"
        assert report.percentile(seconds, 95) < LATENCY, pages


def postgres(request: pytest.FixtureRequest) -> str:
    """The URL of the database that pytest makes, beside the one that DATABASE_URL names, and drops at the end."""
    request.getfixturevalue("django_db_setup")
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


# --- what is not the steps' own -------------------------------------------------------------------------------------


def ways(place: Place) -> dict[str, list[dict[str, Any]]]:
    """Forth, and (when the staged tests fail) back again, some times each."""
    control.start_supervisor(place.sample)
    found: dict[str, list[dict[str, Any]]] = {}
    for way, tests, state in (("", "true", "monitoring"), (", a step fails", "false", "reverted")):
        place.introduce(tests)
        found[way] = [run(place, state) for _ in range(ROUNDS + 1)][1:]  # the first one builds the environment
    return found


def run(place: Place, state: str) -> dict[str, Any]:
    control.deploy_bad(place.sample)
    pk = place.driver.ask("request", system=layout.NAME, target=GOOD, local=True)
    found: dict[str, Any] = place.driver.ask("carried", pk=pk)
    assert found["state"] == state, found
    if state == "monitoring":
        place.driver.ask("complete", pk=pk)
    return found


def over(found: dict[str, Any]) -> float:
    """Seconds a step: from the start of the run to its end, without what its steps did themselves."""
    return float((found["run"] - found["own"]) / found["steps"])


# --- from the command to the page -----------------------------------------------------------------------------------


def latency(place: Place, port: int, pages: int) -> list[float]:
    """Of each line on each page: seconds from being printed until an answer that has it was read."""
    control.deploy_bad(place.sample)
    pk = place.driver.ask("request", system=layout.NAME, target=GOOD, local=False)
    with ExitStack() as stack:
        readers = [stack.enter_context(open_page(port, pk)) for _ in range(pages)]
        place.driver.ask("approve", pk=pk, local=False)
        for reader in readers:
            reader.wait(TICKS)
        place.driver.ask("complete", pk=pk)
    return [seconds for reader in readers for seconds in reader.seen.values()]


class OpenPage:
    """A page as live.js keeps it: asked for again when the stream says so, one question at a time."""

    def __init__(self, port: int, pk: int) -> None:
        self.reader = Reader(port, "techlead")
        self.path = f"/rollbacks/{pk}/"
        self.changed, self.closed = threading.Event(), threading.Event()
        self.seen: dict[str, float] = {}  # by the time stamp that was printed

    def listen(self) -> None:
        with self.reader.live() as changes:
            for _ in changes:
                self.changed.set()
                if self.closed.is_set():
                    return

    def refresh(self) -> None:
        while not self.closed.is_set():
            if self.changed.wait(0.5):
                self.changed.clear()
                text = self.reader.get(self.path).text
                now = time.time()
                for stamp in re.findall(r"^\d{10}\.\d{1,7}$", text, re.MULTILINE):
                    self.seen.setdefault(stamp, now - float(stamp))

    def wait(self, lines: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.seen) < lines and time.monotonic() < deadline:
            time.sleep(0.05)


@contextmanager
def open_page(port: int, pk: int) -> Iterator[OpenPage]:
    page = OpenPage(port, pk)
    threads = [threading.Thread(target=act, daemon=True) for act in (page.listen, page.refresh)]
    for thread in threads:
        thread.start()
    try:
        yield page
    finally:
        page.closed.set()
        for thread in threads:
            thread.join(20)


# --- the report -----------------------------------------------------------------------------------------------------


def told(found: dict[str, list[dict[str, Any]]], waited: dict[int, list[float]]) -> None:
    def middle(rounds: list[dict[str, Any]], key: str) -> float:
        return report.middle([each[key] for each in rounds])

    rows = [
        [
            way,
            f"{middle(rounds, 'steps'):.0f}",
            f"{middle(rounds, 'run'):.3f}",
            f"{middle(rounds, 'own'):.3f}",
            f"{report.middle([over(each) for each in rounds]) * 1000:.0f}",
            f"{max(over(each) for each in rounds) * 1000:.0f}",
            f"{report.middle([each['statements_between'] / (each['steps'] - 1) for each in rounds]):.0f}",
            f"{report.middle([seconds for each in rounds for seconds in each['nothing']]) * 1000:.0f}",
        ]
        for way, rounds in found.items()
    ]
    head = ["code rollback on", "steps", "run, s", "own, s", "over, ms a step", "worst", "statements", "nothing, ms"]
    lines = [
        [str(pages), *(f"{report.percentile(seconds, percent):.2f}" for percent in (50, 95, 100))]
        for pages, seconds in waited.items()
    ]
    first = next(iter(found.values()))[0]
    text = f"""
A rollback of the sample, carried in one process; medians of {ROUNDS} rounds. “Own” is the time inside the steps'
apply, verify and undo; “over” is all the rest from the start of the run to its end, for each step or undo (promised:
under {OVERHEAD * 1000:.0f} ms): the database, the fence, reading the manifest, starting and stopping the process that
measures the downtime. “Statements” are what the worker asks of the database between a step and the next; beside it the
heartbeat looks three times a second. “Nothing” is to carry a run that wants no worker: what a hint costs that comes
twice ({first["nothing_statements"]["worker"]} statements).

{report.table(head, rows)}

From a line being printed by the system's own test command (a time stamp every 50 ms, {TICKS} of them) to an answer that
has it, over HTTP from all that `make up` starts: a worker carries the rollback, and each open page listens to /live/
and fetches itself again, as live.js does. Seconds; promised: 95 % within {LATENCY:.0f} s.

{report.table(["open pages", "p50", "p95", "longest"], lines)}
"""
    databases = [report.sqlite()]
    if connection.vendor == "postgresql":
        databases.append("PostgreSQL")
    report.tell("The engine", text, where=report.machine(*databases))
