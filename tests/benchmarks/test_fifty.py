"""Fifty systems rolled back at the same time by four workers: does each come to its end, what does the engine cost
then, and do the pages that people look at meanwhile stay quick?"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from portal import stack
from tests.benchmarks import report
from tests.benchmarks.driver import PROJECT, Driver, environment
from tests.benchmarks.fleet import Member, fleet
from tests.benchmarks.reader import Reader
from tests.benchmarks.test_engine import over
from tests.hosts.portal import postgres

HOSTS, WORKERS = 50, 4
OVERHEAD = 0.050  # seconds a step, for 95 % of all steps
SLOW = 0.200  # seconds a page, for 95 % of the questions of each list
EVERY = 0.1  # seconds between two questions
LISTS = ["/", "/systems/", "/incidents/", "/log/"]
POSTGRES = Path("/usr/lib/postgresql")


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """PostgreSQL where Debian's is installed and may be started (as root), else the SQLite that nobody has to name."""
    if not POSTGRES.is_dir() or os.geteuid():
        yield {}
        return
    port = next(number for number in range(5460, 5480) if stack.port_is_free(number))
    with postgres("127.0.0.1", str(port)):
        yield {"DATABASE_URL": f"postgres://portal@127.0.0.1:{port}/portal"}


@contextmanager
def web(words: dict[str, str], log: Path) -> Iterator[int]:
    """The pages, as `make up` serves them: their port."""
    port = next(number for number in range(9100, 9200) if stack.port_is_free(number))
    command = stack.web(port).program.command
    with log.open("w") as out, subprocess.Popen(command, cwd=PROJECT, env=words, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + 60
            while stack.status_of(f"{stack.address(port)}accounts/login/") != 200:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


class Looking:
    """`with Looking(port) as seen:` asks for one list after the other; then seen.seconds, by address."""

    def __init__(self, port: int) -> None:
        self.reader = Reader(port, "techlead")
        self.seconds: dict[str, list[float]] = {path: [] for path in LISTS}
        self.ended = threading.Event()
        for path in LISTS:
            self.reader.get(path)  # the first time a page is made its template is read
        self.thread = threading.Thread(target=self.look_on, daemon=True)

    def look_on(self) -> None:
        while not self.ended.is_set():
            for path in LISTS:
                began = time.perf_counter()
                assert self.reader.get(path).status == 200, path
                self.seconds[path].append(time.perf_counter() - began)
                self.ended.wait(EVERY)

    def __enter__(self) -> Looking:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()


def test_fifty() -> None:
    home = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    try:
        with ExitStack() as stacked:
            words = environment(home / "portal") | stacked.enter_context(database())
            members = stacked.enter_context(fleet(home, HOSTS))
            workers = [Driver(words) for _ in range(WORKERS)]
            for worker in workers:
                stacked.callback(worker.end)
            rolled_back(workers, members, words, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def rolled_back(workers: list[Driver], members: list[Member], words: dict[str, str], home: Path) -> None:
    boss = workers[0]
    boss.ask("prepare")
    for member in members:
        boss.ask("add", text=member.manifest)
    with ThreadPoolExecutor(WORKERS) as pool:
        asked = [pk for pks in pool.map(requested, workers, parts(members)) for pk in pks]
    with web(words, home / "web.out") as port, Looking(port) as looking:
        for pk in asked:
            boss.ask("vote", pk=pk)
        began, busy = time.monotonic(), busy_seconds()
        with ThreadPoolExecutor(WORKERS) as pool:
            found = [run for runs in pool.map(lambda worker: worker.ask("work"), workers) for run in runs]
        seconds, busy = time.monotonic() - began, busy_seconds() - busy
    states = boss.ask("states", pks=asked)
    shares = [run["worker"] for run in found]
    told(found, looking.seconds, seconds, busy, "DATABASE_URL" in words)

    assert states == ["monitoring"] * HOSTS
    assert all(member.is_healthy() for member in members)
    assert len(found) == HOSTS
    assert len(set(shares)) == WORKERS, "each had its share"
    assert report.percentile(gaps(found, "work"), 95) < OVERHEAD
    slow = {path: report.percentile(each, 95) for path, each in looking.seconds.items()}
    assert max(slow.values()) < SLOW, slow


def parts(members: list[Member]) -> list[list[Member]]:
    """One for each worker."""
    return [members[number::WORKERS] for number in range(WORKERS)]


def requested(worker: Driver, members: list[Member]) -> list[int]:
    """Planned, and waiting for approval."""
    return [worker.ask("request", system=member.name, target="v1", local=True) for member in members]


def gaps(found: list[dict[str, Any]], what: str) -> list[float]:
    """Seconds between each two steps of each run: "work", "queued" (for a core), or "seconds" by the clock."""
    return [gap[what] for run in found for gap in run["between"]]


def busy_seconds() -> float:
    """Of all cores since the machine started, whoever kept them busy."""
    user, nice, system, _, _, irq, softirq, *_ = Path("/proc/stat").read_text().split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf("SC_CLK_TCK")


def told(
    found: list[dict[str, Any]], looked: dict[str, list[float]], seconds: float, busy: float, is_postgres: bool
) -> None:
    def row(title: str, numbers: list[float]) -> list[str]:
        return [title, *(f"{report.percentile(numbers, percent) * 1000:.0f}" for percent in (50, 95, 100))]

    percentiles = ["p50, ms", "p95, ms", "longest"]
    engine = report.table(
        ["the engine, for a step", *percentiles],
        [
            row("at work between two steps", gaps(found, "work")),
            row("waiting for a core there", gaps(found, "queued")),
            row("by the clock between two steps", gaps(found, "seconds")),
            row("by the clock, all but the steps' own, shared out", [over(run) for run in found]),
        ],
    )
    pages = report.table(["page", *percentiles], [row(f"`{path}`", each) for path, each in looked.items()])
    runs, cores = [run["run"] for run in found], len(os.sched_getaffinity(0))
    text = f"""
{HOSTS} systems on one machine, each with a service of its own that answers 500, brought back to their release 1 at the
same time by {WORKERS} worker processes: code rollbacks, approved before the first one began. All came to their end
in {seconds:.0f} s; one took {report.middle(runs):.1f} s in the middle, {max(runs):.1f} s at most.

{engine}

Promised: 95 % under {OVERHEAD * 1000:.0f} ms at work. That is what the engine itself adds between a step and the next:
the processor time of the worker's thread and of the process that the database has for it, as the kernel counts it. By
the clock more passes, for services, supervisord, git, switches, workers, database and pages all want a core of this one
machine, and of its {cores} they kept {busy / seconds:.1f} busy: the kernel also counts how long the worker or its
database process was ready to work and another had the core. The rest is the wait for the ledger's end, while the worker
that has it waits for a core. “Shared out” is as for one rollback
above: beginning and end of a run too, divided by its steps. Meanwhile one reader asked for one list
after the other, over HTTP, with {EVERY * 1000:.0f} ms between two questions (promised: 95 % within
{SLOW * 1000:.0f} ms):

{pages}
"""
    where = report.machine("PostgreSQL (without fsync)" if is_postgres else report.sqlite())
    report.tell("Fifty at the same time", text, where=where)
