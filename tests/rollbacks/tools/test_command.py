"""A command ends, and all that belongs to it, whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rollbacks.tools import command, probe


def wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def sh(words: str, tmp_path: Path, **options: object) -> command.Result:
    return command.run(command.owner(words), cwd=tmp_path, **options)  # type: ignore[arg-type]


def python(code: str, tmp_path: Path, **options: object) -> command.Result:
    return command.run([sys.executable, "-c", code], cwd=tmp_path, **options)  # type: ignore[arg-type]


def test_output_comes_as_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    found = sh("echo one; echo two >&2; pwd; printf 'ü\\0\\377'", tmp_path, say=said.append)
    assert "".join(said) == found.output == f"one\ntwo\n{tmp_path}\nü\ufffd"
    assert (found.code, found.args[-1][:8]) == (0, "echo one")
    assert 0 < found.seconds < 2


def test_a_failure_tells_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(command.CommandFailed, match="“echo broken; exit 3” ended with code 3: broken") as caught:
        sh("echo broken; exit 3", tmp_path)
    assert caught.value.result.code == 3
    assert sh("exit 3", tmp_path, check=False).code == 3


@pytest.mark.parametrize("args", [["/nonexistent/program"], ["no-such-program-here"], ["/etc/passwd"]])
def test_what_cannot_be_started(tmp_path: Path, args: list[str]) -> None:
    with pytest.raises(command.CommandFailed, match="cannot be started") as caught:
        command.run(args, cwd=tmp_path)
    assert caught.value.result.code == 127
    with pytest.raises(command.CommandFailed, match="cannot be started"):
        command.run(["true"], cwd=tmp_path / "none")


def test_a_hundred_megabytes_are_fast_and_bounded(tmp_path: Path) -> None:
    seen = 0

    def say(text: str) -> None:
        nonlocal seen
        seen += len(text)

    found = sh("head -c 104857600 /dev/zero | tr '\\0' x; echo end", tmp_path, say=say)
    assert seen == 104857600 + 4
    assert len(found.output) == command.TAIL
    assert found.output.endswith("xend\n")
    assert found.seconds < 5


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(command.CommandTimeout, match="had not ended after 0 s") as caught:
        sh("sleep 60 & echo $!; sleep 60", tmp_path, timeout=0.1)
    assert time.monotonic() - began < 2
    assert probe.process(int(caught.value.result.output)) is None


def test_one_that_does_not_hear_term_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GRACE", 0.1)
    began = time.monotonic()
    with pytest.raises(command.CommandTimeout) as caught:
        sh("trap '' TERM; echo $$; while true; do sleep 0.01; done", tmp_path, timeout=0.1)
    assert time.monotonic() - began < 2
    assert probe.process(int(caught.value.result.output)) is None


def test_it_can_be_stopped(tmp_path: Path) -> None:
    asked = threading.Event()
    threading.Timer(0.1, asked.set).start()
    with pytest.raises(command.CommandStopped, match="was stopped"):
        sh("sleep 60", tmp_path, stopped=asked.is_set)


def test_a_daemon_left_behind_does_not_hang(tmp_path: Path) -> None:
    daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); print(os.getpid(), flush=True); time.sleep(60)"
    found = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {daemon!r}])", tmp_path)
    assert found.seconds < 3
    if found.output.strip():
        os.kill(int(found.output), signal.SIGKILL)


def test_a_chatty_child_left_behind_does_not_hang_and_is_ended(tmp_path: Path) -> None:
    found = sh("yes & echo $! > pid", tmp_path, timeout=30)
    assert found.seconds < 3
    wait(lambda: probe.process(int((tmp_path / "pid").read_text())) is None)


def test_one_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    found = sh("exec >&- 2>&-; sleep 0.2; exit 5", tmp_path, check=False)
    assert (found.code, found.seconds > 0.2) == (5, True)


def test_when_the_listener_fails_nothing_runs_on(tmp_path: Path) -> None:
    pids: list[int] = []

    def say(text: str) -> None:
        pids.append(int(text))
        raise ValueError("the database is gone")

    with pytest.raises(ValueError, match="database is gone"):
        sh("echo $$; sleep 60", tmp_path, say=say, groups=tmp_path / "groups")
    assert probe.process(pids[0]) is None
    assert list((tmp_path / "groups").iterdir()) == []


def test_nothing_of_the_portal_reaches_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me:hunter2@db/portal")
    monkeypatch.setenv("VIRTUAL_ENV", "/portal/venv")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "portal.settings")
    said = sh("env", tmp_path).output
    assert not any(word in said for word in ("hunter2", "VIRTUAL_ENV", "DJANGO"))
    found = command.clean_environment(path_first=Path("/srv/.venv"))
    assert found["PATH"].startswith("/srv/.venv/bin:")
    assert found["VIRTUAL_ENV"] == "/srv/.venv"


def test_there_is_nobody_to_ask(tmp_path: Path) -> None:
    assert sh("read answer || echo nobody", tmp_path).output == "nobody\n"


def test_reap_kills_what_a_dead_worker_left_and_nothing_else(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    code = (
        "from pathlib import Path; from rollbacks.tools import command;"
        f"command.run(['sleep', '60'], cwd=Path('/'), groups=Path({str(groups)!r}))"
    )
    project = Path(command.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=project) as worker:
        wait(lambda: groups.is_dir() and any(groups.iterdir()))
        (note,) = groups.iterdir()
        worker.kill()
    pid = int(note.name.partition("-")[0])
    assert probe.process(pid) is not None
    (groups / f"{os.getpid()}-1").touch()  # our pid, but another's start: it was given out again
    (groups / "1-").touch()
    (groups / "x-y").touch()
    assert command.reap(groups) == 1
    wait(lambda: probe.process(pid) is None)
    assert list(groups.iterdir()) == []
    assert command.reap(groups) == 0
    assert command.reap(tmp_path / "none") == 0
