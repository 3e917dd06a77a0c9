"""A real supervisord, and programs that stop at once, late, or never start; what of systemd needs no systemd."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollbacks.tools import probe, service
from rollbacks.tools.manifest import Service

LONG = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
SLOW = """
import signal, sys, time
def end(*_):
    time.sleep(0.3)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(600)
"""
PROGRAM = """
[program:{name}]
command={python} {folder}/{name}.py
autostart=false
autorestart=true
startsecs=30
{more}
"""
BASE = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[unix_http_server]
file={folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:absent]
command=/nonexistent/program
autostart=false
"""
Make = Callable[[str], service.Manager]


@pytest.fixture(scope="module")
def manager() -> Iterator[Make]:
    folder = Path(tempfile.mkdtemp(prefix="sv"))  # tmp_path may be too long for a socket's name
    text = BASE.format(folder=folder)
    programs = {"app": (LONG, ""), "deaf": (DEAF, "stopwaitsecs=1"), "slow": (SLOW, ""), "bad": ("1/0", "startsecs=0")}
    for name, (code, more) in programs.items():
        (folder / f"{name}.py").write_text(code)
        text += PROGRAM.format(name=name, python=sys.executable, folder=folder, more=more)
    (folder / "conf").write_text(text)
    args = [str(Path(sys.executable).parent / "supervisord"), "-n", "-c", str(folder / "conf")]
    with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        wait(lambda: listens(folder / "s.sock"))
        yield lambda name: service.for_service(Service("supervisor", name, f"unix://{folder}/s.sock"))
        daemon.terminate()
    shutil.rmtree(folder)


def listens(path: Path) -> bool:
    """The file is there a moment before anybody answers at it."""
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(path)) == 0


def wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def up(manager: service.Manager) -> None:
    """Its handlers are in place."""
    assert isinstance(manager, service.Supervisor)
    wait(lambda: manager.tail("tailProcessStdoutLog").endswith("up\n"))


def test_start_and_stop(manager: Make) -> None:
    app = manager("app")
    assert app.status() == service.Status(False, 0, "STOPPED Not started")
    app.start()
    first = app.status()
    assert first.running
    assert first.pid
    app.start()  # it runs already
    assert app.status().pid == first.pid
    app.stop(5)
    assert not app.status().running
    assert probe.process(first.pid) is None
    app.stop(5)  # it is stopped already


def test_the_outage_is_short_and_the_process_is_new(manager: Make) -> None:
    app = manager("app")
    app.start()
    before, began = app.status().pid, time.perf_counter()
    for _ in range(5):
        app.stop(5)
        app.start()
        assert app.status().pid not in (0, before)
        before = app.status().pid
    took = (time.perf_counter() - began) / 5
    print(f"stop and start: {took * 1000:.1f} ms")
    assert took < 0.5
    app.stop(5)


def test_a_slow_end_is_waited_for(manager: Make) -> None:
    slow = manager("slow")
    slow.start()
    up(slow)
    pid, began = slow.status().pid, time.perf_counter()
    slow.stop(5)
    assert 0.25 < time.perf_counter() - began < 1
    assert probe.process(pid) is None


def test_one_that_does_not_stop_in_time_says_so_and_is_not_started_twice(manager: Make) -> None:
    deaf = manager("deaf")
    deaf.start()
    up(deaf)
    pid = deaf.status().pid
    with pytest.raises(service.ServiceError, match=rf"deaf \(pid {pid}\) has not stopped after 0.1 s.*supervisorctl"):
        deaf.stop(0.1)
    deaf.start()  # waits until supervisor has killed it
    assert probe.process(pid) is None
    assert deaf.status().pid not in (0, pid)


def test_one_that_crashes_and_is_started_anew_by_supervisor_is_stopped_for_good(manager: Make) -> None:
    bad = manager("bad")
    bad.start()
    bad.stop(5)
    for _ in range(20):
        assert not bad.status().running
        time.sleep(0.005)


def test_one_that_cannot_start_says_why(manager: Make) -> None:
    with pytest.raises(service.ServiceError, match="absent: NO_FILE: can't find command '/nonexistent/program'"):
        manager("absent").start()


def test_last_words_are_shown(manager: Make) -> None:
    bad = manager("bad")
    assert isinstance(bad, service.Supervisor)
    bad.start()
    wait(lambda: "ZeroDivisionError" in bad.tail("tailProcessStderrLog"))
    bad.stop(5)
    assert "ZeroDivisionError: division by zero" in bad.last_words("FATAL")


def test_an_unknown_program_and_no_supervisor_at_all(manager: Make) -> None:
    with pytest.raises(service.ServiceError, match="knows no program nothing"):
        manager("nothing").status()
    for url in ("unix:///nonexistent.sock", "http://127.0.0.1:1"):
        gone = service.for_service(Service("supervisor", "app", url))
        for call in (gone.status, gone.start, lambda it=gone: it.stop(1)):
            with pytest.raises(service.ServiceError, match="cannot be reached"):
                call()


def test_what_a_person_types() -> None:
    supervisor = service.for_service(Service("supervisor", "a:b", "unix:///run/s.sock"))
    assert supervisor.by_hand("stop") == "supervisorctl -s unix:///run/s.sock stop a:b"
    web = service.for_service(Service("supervisor", "app", "http://me:hunter2@host:9001"))
    assert web.by_hand("start") == "supervisorctl -s http://host:9001 start app"
    assert service.for_service(Service("systemd", "app@1")).by_hand("status") == "systemctl status app@1.service"


def test_no_service_manager() -> None:
    nobody = service.for_service(Service("none"))
    nobody.start()
    nobody.stop(1)
    assert nobody.status() == service.Status(False, 0, "no service manager")
    assert nobody.by_hand("start") == "true   # no service manager: start it as you usually do"


# --- systemd (tests/hosts/test_systemd.py asks a real one) ----------------------------------------------------------


def test_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    agents = service.for_service(Service("systemd", "agents"))
    for call in (agents.status, agents.start, lambda: agents.stop(1)):
        with pytest.raises(
            service.ServiceError, match=r"systemd did not \w+ agents\.service: systemctl cannot be started"
        ):
            call()


@pytest.mark.parametrize(
    ("unit", "whole"),
    [
        ("agents", "agents.service"),
        ("agents.service", "agents.service"),
        ("agents.timer", "agents.timer"),
        ("app@1", "app@1.service"),
        ("agents.v2", "agents.v2.service"),
        ("service", "service.service"),
    ],
)
def test_a_unit_has_its_whole_name_as_the_rules_name_it(unit: str, whole: str) -> None:
    assert service.Systemd(unit).unit == whole


@pytest.mark.parametrize(
    ("span", "length"),
    [("1min 30s", 90), ("90s", 90), ("500ms", 0.5), ("2h 5min 1s 20ms", 7501.02), ("infinity", math.inf), ("", 0)],
)
def test_spans_are_read_as_systemd_writes_them(span: str, length: float) -> None:
    assert service.seconds(span) == pytest.approx(length)
