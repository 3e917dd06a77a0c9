"""A real supervisord, and programs that stop at once, late, or never start."""

from __future__ import annotations

import shutil
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
        wait(lambda: (folder / "s.sock").exists())
        yield lambda name: service.for_service(Service("supervisor", name, f"unix://{folder}/s.sock"))
        daemon.terminate()
    shutil.rmtree(folder)


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
    assert service.for_service(Service("systemd", "app@1")).by_hand("status") == "systemctl status app@1"


def test_no_service_manager() -> None:
    nobody = service.for_service(Service("none"))
    nobody.start()
    nobody.stop(1)
    assert nobody.status() == service.Status(False, 0, "no service manager")
    assert nobody.by_hand("start") == "true   # no service manager: start it as you usually do"


SYSTEMCTL = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
show)
    echo LoadState=loaded; echo MainPID=42; echo ActiveState=$(cat {state}); echo SubState=running; echo Result=success
    ;;
start)
    if [ -e {log}.refuse ]; then rm {log}.refuse; echo "start request repeated too quickly"; exit 1; fi
    echo active > {state}
    ;;
stop) echo inactive > {state};;
esac
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> service.Manager:
    """A systemctl that remembers what it was told: there is no systemd to test with."""
    tool = tmp_path / "systemctl"
    (tmp_path / "state").write_text("active")
    tool.write_text(SYSTEMCTL.format(log=tmp_path / "log", state=tmp_path / "state"))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return service.for_service(Service("systemd", "agents"))


def test_systemd(systemd: service.Manager, tmp_path: Path) -> None:
    assert systemd.status() == service.Status(True, 42, "active (running), result success")
    systemd.stop(5)
    assert not systemd.status().running
    systemd.start()
    assert systemd.status().running
    assert "stop --no-ask-password --no-pager agents" in (tmp_path / "log").read_text().splitlines()


def test_systemd_is_asked_again_after_too_many_failures(systemd: service.Manager, tmp_path: Path) -> None:
    (tmp_path / "log.refuse").touch()
    systemd.start()
    assert "reset-failed" in (tmp_path / "log").read_text()


def test_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(service.ServiceError, match=r"systemd did not show agents.*journalctl -u agents"):
        service.for_service(Service("systemd", "agents")).status()
