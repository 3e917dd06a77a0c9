"""`up` where it cannot start: it says why and what to do, and changes nothing. (That it starts, serves and ends is held
with real processes, by the story in the browser and by `make demo`.)"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from portal import stack

ROOT = Path(__file__).resolve().parents[2]


def manage(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PORTAL", "DATABASE", "REDIS"))}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**known, "PORTAL_HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = manage(tmp_path, "up", "--port", str(port))
    assert ended.returncode == 1
    said = f"port {port} is taken by another program. Use another one: make up PORT={port + 1}"
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "sample").exists(), "nothing was begun"
    with stack.only_one(tmp_path, "here"):
        """The lock went with the process: the next `up` may begin."""


def test_a_second_up_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    with stack.only_one(tmp_path, "http://127.0.0.1:8000/"):
        ended = manage(tmp_path, "up", "--port", "8001")
    assert ended.returncode == 1
    assert "the portal is already running: http://127.0.0.1:8000/" in ended.stderr
    assert f"(process {os.getpid()})" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_demo_accounts_are_refused_where_others_can_reach_the_portal(tmp_path: Path) -> None:
    ended = manage(tmp_path, "up", PORTAL_DEMO="on", ALLOWED_HOSTS="portal.example.org")
    assert ended.returncode == 1
    assert "PORTAL_DEMO signs anybody in: it needs ALLOWED_HOSTS to be loopback only" in ended.stderr
