"""Downtime is measured by a process that outlives the one that asked for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rollbacks.tools import prober


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.code)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.code = 200  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run" / "prober.jsonl"
    prober.stop(tmp_path / "run" / "prober.jsonl")


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/health"


def wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def line(at: float, ok: bool | None = None, answered: bool | None = None) -> str:
    if ok is None:
        return json.dumps({"at": at, "end": True})
    return json.dumps({"at": at, "ok": ok, "answered": ok if answered is None else answered, "detail": ""})


# --- the process ----------------------------------------------------------------------------------------------------


def test_it_sees_the_service_fall_and_rise(server: ThreadingHTTPServer, file: Path) -> None:
    prober.start(url(server), file, every=0.02)
    assert prober.read(file).ok_now
    server.code = 500  # type: ignore[attr-defined]
    wait(lambda: not prober.read(file).ok_now)
    time.sleep(0.2)
    now = prober.read(file)
    assert now.down_since is not None
    assert now.down_seconds > 0.2
    server.code = 200  # type: ignore[attr-defined]
    wait(lambda: prober.read(file).ok_now)
    prober.stop(file)
    found = prober.read(file)
    assert 0.2 < found.down_seconds < 1
    assert found.outage_seconds == 0
    assert found.down_since is None
    assert [json.loads(each).get("ok") for each in file.read_text().splitlines()] == [True, False, True, None]


def test_a_refused_connection_is_an_outage(file: Path) -> None:
    prober.start("http://127.0.0.1:1/", file, every=0.02)
    time.sleep(0.1)
    prober.stop(file)
    found = prober.read(file)
    assert 0.1 <= found.outage_seconds == found.down_seconds == found.until - found.since


def test_there_is_only_one(server: ThreadingHTTPServer, file: Path) -> None:
    for _ in range(3):
        prober.start(url(server), file, every=0.02)
    args = [sys.executable, "-m", "rollbacks.tools.prober", str(file), "0.02"]
    surroundings = {**os.environ, "HEALTH_URL": url(server)}
    assert subprocess.run(args, cwd=prober.PROJECT, env=surroundings, check=False).returncode == 0
    time.sleep(0.1)
    assert len(file.read_text().splitlines()) == 1


def test_stop_ends_it_and_a_start_goes_on(server: ThreadingHTTPServer, file: Path) -> None:
    prober.start(url(server), file, every=0.02)
    began = time.monotonic()
    prober.stop(file)
    assert time.monotonic() - began < 1
    assert not prober.is_running(file)
    first = prober.read(file)
    prober.stop(file)  # twice is fine
    prober.start(url(server), file, every=0.02)
    prober.stop(file)
    again = prober.read(file)
    assert again.since == first.since
    assert again.until > first.until


def test_it_outlives_the_one_that_started_it(server: ThreadingHTTPServer, file: Path) -> None:
    imports = "from pathlib import Path; from rollbacks.tools import prober"
    code = f"{imports}; prober.start({url(server)!r}, Path({str(file)!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; input()"], cwd=prober.PROJECT, stdin=subprocess.PIPE
    ) as worker:
        wait(lambda: prober.size(file) > 0)
        os.kill(worker.pid, signal.SIGKILL)
    assert prober.is_running(file)
    prober.start(url(server), file)
    assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize("how", ["old", "missing"])
def test_it_ends_when_nobody_is_interested_any_more(server: ThreadingHTTPServer, file: Path, how: str) -> None:
    prober.start(url(server), file, every=0.02)
    alive = file.with_name(f"{file.name}.alive")
    os.utime(alive, (0, time.time() - 121)) if how == "old" else alive.unlink()
    wait(lambda: not prober.is_running(file))
    assert prober.has_ended(file)


def test_a_beat_keeps_it(server: ThreadingHTTPServer, file: Path) -> None:
    prober.beat(file)
    assert not file.parent.exists()
    prober.start(url(server), file)
    alive = file.with_name(f"{file.name}.alive")
    os.utime(alive, (0, 0))
    prober.beat(file)
    assert time.time() - alive.stat().st_mtime < 5


def test_one_that_died_is_ended_in_its_stead(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(line(1, True) + '\n{"at": 2, "o')
    prober.stop(file)
    assert prober.has_ended(file)
    assert len(file.read_text().splitlines()) == 3


def test_without_a_url_nothing_is_measured(file: Path) -> None:
    prober.start("", file)
    prober.stop(file)
    assert prober.read(file) == prober.Measured(0, 0, 0, 0, False, None)


# --- reading --------------------------------------------------------------------------------------------------------


def read(file: Path, *lines: str, now: float | None = None) -> prober.Measured:
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines))
    return prober.read(file, now=now)


def test_down_is_not_ok_and_outage_is_no_answer(file: Path) -> None:
    lines = [line(10, True), line(20, False, False), line(23, False, True), line(25, True), line(30)]
    assert read(file, *lines) == prober.Measured(10, 30, 5, 3, True, None)


def test_while_it_is_down_the_time_runs(file: Path) -> None:
    lines = [line(10, True), line(20, False, False), line(23, False, True)]
    assert read(file, *lines, now=26) == prober.Measured(10, 26, 6, 3, False, 20)
    assert read(file, *lines, now=0) == prober.Measured(10, 23, 3, 3, False, 20)


def test_a_gap_counts_as_the_last_known_state(file: Path) -> None:
    lines = [line(10, False), line(12), line(15, False), line(17, True), line(18)]
    assert read(file, *lines) == prober.Measured(10, 18, 7, 7, True, None)
    assert read(file, line(10, False), line(12), line(15, False), now=16).down_since == 10


@pytest.mark.parametrize("torn", ['{"at": 2', "null", "[]", '{"at": "x", "ok": true}', '{"ok": true}', "\x00\x00", ""])
def test_torn_lines_are_skipped(file: Path, torn: str) -> None:
    assert read(file, line(1, False), torn, line(3, True), torn, now=9) == prober.Measured(1, 9, 2, 2, True, None)


def test_a_file_with_nothing_in_it(file: Path) -> None:
    assert read(file, "") == prober.Measured(0, 0, 0, 0, False, None)
    assert read(file, line(5)) == prober.Measured(0, 0, 0, 0, False, None)
