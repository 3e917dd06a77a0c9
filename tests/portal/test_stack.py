"""The stack with parts of our own: what starts, what dies, what comes back, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import stack
from portal.stack import Part, Stack
from portal.supervision import Program, alive, wait_until

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
DIE = [sys.executable, "-c", "raise SystemExit('no such thing as a luck of 100%')"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def said(*words: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Stack]:
    """A stack of a web server that serves its logs, and of something that sleeps."""
    port = free_port()
    serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    parts = [
        Part(Program("broker", SLEEP, {"priority": 10, "startsecs": 0}), lambda: True),
        Part(
            Program("web", serve, {"priority": 20, "startsecs": 0}),
            lambda: stack.status_of(stack.address(port)) == 200,
        ),
    ]
    running = Stack(tmp_path / "50% done", parts, directory=tmp_path, environment={"TOKEN": "not-on-a-command-line"})
    running.home.mkdir()
    running.start()
    yield running
    running.stop()


def pid_of(running: Stack, name: str) -> int:
    return next((process.pid for process in running.supervisor.processes() if process.name == name), 0)


def test_everything_answers_and_ends(started: Stack) -> None:
    started.wait_ready(said)
    pids = [process.pid for process in started.supervisor.processes()]
    assert len(pids) == 2
    assert stat.S_IMODE(started.supervisor.config.stat().st_mode) == 0o600
    assert "not-on-a-command-line" not in started.supervisor.config.read_text()
    assert b"TOKEN=not-on-a-command-line" in Path(f"/proc/{pids[0]}/environ").read_bytes()

    started.stop()

    assert not any(alive(pid) for pid in pids)
    assert started.supervisor.processes() == []


def test_a_killed_part_comes_back(started: Stack) -> None:
    started.wait_ready(said)
    before = pid_of(started, "web")
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: pid_of(started, "web") not in (0, before), 5)
    assert wait_until(started.parts[1].answers, 5)
    assert started.fallen() == []


def test_what_a_killed_up_left_is_ended_by_the_next_start(started: Stack) -> None:
    started.wait_ready(said)
    left = pid_of(started, "web")
    again = Stack(started.home, started.parts, directory=started.directory, environment={})
    again.start()
    try:
        again.wait_ready(said)
        assert not alive(left)
    finally:
        again.stop()


def test_a_part_that_keeps_dying_is_named_with_its_log(tmp_path: Path) -> None:
    running = Stack(tmp_path, [Part(Program("web", DIE), lambda: False)], directory=tmp_path, environment={})
    running.start()
    try:
        with pytest.raises(stack.StackError, match=r"(?s)web keeps ending.*web\.log.*luck of 100%"):
            running.wait_ready(said)
    finally:
        running.stop()


def test_a_part_that_never_answers_is_named(tmp_path: Path) -> None:
    running = Stack(tmp_path, [Part(Program("web", SLEEP), lambda: False)], directory=tmp_path, environment={})
    running.start()
    try:
        with pytest.raises(stack.StackError, match="web does not answer"):
            running.wait_ready(said, seconds=1)
    finally:
        running.stop()


def test_a_second_up_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    second = stack.only_one(tmp_path, "http://127.0.0.1:8001/")
    already = pytest.raises(stack.AlreadyRunningError, match=r"already running: http://127\.0\.0\.1:8000/")
    with stack.only_one(tmp_path, "http://127.0.0.1:8000/"), already, second:
        pass
    with stack.only_one(tmp_path, "http://127.0.0.1:8001/"):
        pass


def test_a_taken_port_is_seen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not stack.port_is_free(taken.getsockname()[1])
    assert stack.port_is_free(free_port())


def test_without_a_redis_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(stack.NoBrokerError, match="apt-get install redis-server"):
        stack.redis_server()
