"""What runs is told from what does not, and a dead process from one that cannot be known."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rollbacks.tools import probe


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code = int(self.path.strip("/").partition("?")[0] or 200)
        self.send_response(code)
        self.send_header("Location", "/200")
        self.end_headers()
        self.wfile.write(b"\n broken: no database \nmore" + b"x" * 500_000)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_answer_of_200_is_ok(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    found = probe.health(f"{url}/200?deep=1")
    assert (found.ok, found.answered, found.status) == (True, True, 200)
    assert found.detail == f"200 in {found.ms:.0f} ms"
    assert probe.health(url).ok


def test_an_error_shows_its_first_line(url: str) -> None:
    assert probe.health(f"{url}/500").detail == "500: broken: no database"


def test_a_redirect_is_not_followed_and_not_ok(url: str) -> None:
    found = probe.health(f"{url}/302")
    assert (found.ok, found.answered, found.status) == (False, True, 302)


def test_a_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = probe.health(f"http://127.0.0.1:{port}/")
    assert (found.ok, found.answered, found.status, found.detail) == (False, False, 0, "connection refused")


def test_silence_ends_with_the_timeout(silent: int) -> None:
    found = probe.health(f"http://127.0.0.1:{silent}/", timeout=0.1)
    assert (found.answered, found.detail) == (False, "no answer within 0.1 s")
    assert 90 < found.ms < 1000


def test_a_dripping_answer_ends_with_the_timeout() -> None:
    def drip(server: socket.socket) -> None:
        client, _ = server.accept()
        with client:
            try:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                for _ in range(100):
                    client.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        found = probe.health(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=0.2)
    assert (found.ok, found.answered) == (False, False)
    assert found.ms < 1000


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://a/", "http://", "http://a:99999/", "http://[::1", "http://a/\n"]
)
def test_it_never_raises(url: str) -> None:
    found = probe.health(url, timeout=0.2)
    assert (found.ok, found.answered) == (False, False)
    assert found.detail


def test_a_process_is_seen_as_it_runs() -> None:
    before = probe.uptime()
    args = [sys.executable, "-c", "print(flush=True); input()", "word"]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/tmp") as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = probe.process(child.pid)
        assert found is not None
        assert before - 0.02 <= found.started <= probe.uptime()
        assert (found.pid, found.cwd, found.args[-1]) == (child.pid, "/tmp", "word")
        assert os.path.samefile(found.exe, sys.executable)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert probe.process(child.pid) is None
    assert probe.process(child.pid) is None


def test_a_process_is_dead_only_when_it_is_known_to_be() -> None:
    boot, space, _, _ = probe.identity().split(":")
    ours, started = os.getpid(), probe.identity().rpartition(":")[2]
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        theirs = f"{boot}:{space}:{child.pid}:{probe.stat(child.pid)[1]}"
        assert not probe.is_dead(theirs)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert probe.is_dead(theirs)  # its zombie
    assert probe.is_dead(theirs)
    assert not probe.is_dead(probe.identity())
    assert probe.is_dead(f"{boot}:{space}:{ours}:{int(started) + 1}")  # the pid was given out again


@pytest.mark.parametrize("garbage", ["", ":::", "a:b:c:d", "1", "boot:space:1:2"])
def test_what_cannot_be_known_is_not_dead(garbage: str) -> None:
    boot, space, pid, started = probe.identity().split(":")
    assert not probe.is_dead(garbage)
    assert not probe.is_dead(f"other-boot:{space}:99999999:{started}")
    assert not probe.is_dead(f"{boot}:1{space}:99999999:{started}")
    assert not probe.is_dead(f"{boot}:{space}:{'9' * 40}:{started}")
    assert not probe.is_dead(f"{boot}:{space}:{pid}:x")
