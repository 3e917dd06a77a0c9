"""A real systemd, asked by the worker's user, who is not root: units that stop late, never start, or are not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rollbacks.management.commands.host_rights import polkit, sudoers
from tests.hosts.conftest import MakeHost
from tests.hosts.host import OWNER, Host

PYTHON = "/usr/bin/python3 -uc"
DEAF = f"ExecStart={PYTHON} 'import signal, time; signal.signal(15, 1); time.sleep(1000)'"
UNITS = {
    "simple": "ExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=0",
    "deaf": f"{DEAF}\nTimeoutStopSec=2",
    "endless": f"{DEAF}\nTimeoutStopSec=infinity",
    "leaving": "ExecStart=/bin/sleep 1000\nExecStop=/bin/sleep 2",
    "notify": "Type=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'sleep 1; systemd-notify --ready; exec sleep 1000'",
    "unready": "Type=notify\nExecStartPre=/bin/sh -c 'echo >>/run/unready'\nExecStart=/bin/false",
    "absent": "Type=exec\nExecStart=/nonexistent",
    "crashing": "ExecStart=/bin/sh -c 'test -e /srv/repaired && exec sleep 1000'\nRestart=always\nRestartSec=0",
    "coming-back": "ExecStart=/bin/false\nRestart=always\nRestartSec=1",
    "forbidden": "ExecStart=/bin/sleep 1000",
}
VERBS = {
    "restart simple": True,
    "stop simple": True,
    "start simple": True,
    "reset-failed simple": True,
    "kill simple": False,
    "enable simple": False,
    "mask simple": False,
    "set-property simple CPUWeight=50": False,
    "edit simple": False,
    "daemon-reload": False,
    "stop dbus": False,
    "restart portal-worker": False,
    "start rescue.target": False,
    "poweroff": False,
}
ASK = """
import json, sys, time
from rollbacks.tools import service
from rollbacks.tools.manifest import Service

unit, said = service.for_service(Service("systemd", sys.argv[1])), []
for verb in sys.argv[2:]:
    began, error = time.monotonic(), ""
    try:
        unit.stop(0.5) if verb == "stop" else getattr(unit, verb)()
        took, now = time.monotonic() - began, unit.status()
        said.append({"running": now.running, "pid": now.pid, "detail": now.detail, "seconds": took})
    except service.ServiceError as error:
        said.append({"error": str(error), "seconds": time.monotonic() - began})
print(json.dumps(said))
"""
Ask = Callable[..., list[dict[str, Any]]]


def lay_units_out(host: Host) -> None:
    for name, text in UNITS.items():
        unit = f"[Unit]\nDescription={name}\n[Service]\n{text}\n[Install]\nWantedBy=multi-user.target\n"
        host.write(f"/etc/systemd/system/{name}.service", unit)
    host.shell(f"systemctl daemon-reload; systemctl enable --quiet {' '.join(UNITS)}")


def granted(name: str, rule: Callable[[str, str, dict[str, str]], str]) -> str:
    return rule(f"{name}.service", OWNER, {"title": "", "host": "alpha", "system": name})


@pytest.fixture(scope="module")
def units(make_host: MakeHost) -> Host:
    host = make_host("alpha", worker=False)
    lay_units_out(host)
    for name in UNITS:
        if name != "forbidden":
            host.write(f"/etc/polkit-1/rules.d/50-portal-{name}.rules", granted(name, polkit))
    return host


@pytest.fixture
def ask(units: Host) -> Ask:
    """What the worker's user sees and does: ask("simple", "start", "stop")."""
    return lambda *words: list(units.python(ASK, *words))


def test_a_unit_is_started_and_stopped_and_its_process_is_a_new_one(ask: Ask, units: Host) -> None:
    first, again, stopped, stopped_again, second = ask("simple", "start", "start", "stop", "stop", "start")
    assert first["running"]
    assert again["pid"] == first["pid"]
    assert (stopped["running"], stopped["pid"], stopped_again["running"]) == (False, 0, False)
    assert second["pid"] not in (0, first["pid"])
    assert units.run("systemctl", "show", "--value", "--property", "MainPID", "simple") == str(second["pid"])
    [whole] = ask("simple.service", "status")
    assert whole["pid"] == second["pid"]


def test_a_main_process_that_systemd_has_started_anew_is_known(ask: Ask, units: Host) -> None:
    [before] = ask("simple", "start")
    units.run("kill", "-9", str(before["pid"]))
    units.run("systemctl", "is-active", "--wait", "simple", check=False)
    units.shell(f"until [ $(systemctl show --value -p MainPID simple) -gt {before['pid']} ]; do sleep 0.02; done")
    [after] = ask("simple", "status")
    assert after["running"]
    assert after["pid"] not in (0, before["pid"])


def test_one_that_ignores_term_is_killed_after_its_own_time_and_can_be_started(ask: Ask) -> None:
    started, stopped, again = ask("deaf", "start", "stop", "start")
    assert 1.9 < stopped["seconds"] < 20
    assert (stopped["running"], stopped["pid"]) == (False, 0)
    assert "timeout" in stopped["detail"]
    assert again["pid"] not in (0, started["pid"])


def test_one_that_systemd_would_wait_for_without_end_is_not_waited_for(ask: Ask, units: Host) -> None:
    _, stopped, now = ask("endless", "start", "stop", "status")
    assert "systemd did not stop endless.service: " in stopped["error"]
    assert "by hand: systemctl stop endless.service" in stopped["error"]
    assert now["running"]  # it is still stopping: nothing may be switched under it
    units.run("systemctl", "kill", "--signal", "KILL", "endless")


def test_one_that_somebody_else_is_stopping_is_waited_for(ask: Ask, units: Host) -> None:
    ask("leaving", "start")
    units.run("systemctl", "stop", "--no-block", "leaving")
    under_way, stopped = ask("leaving", "status", "stop")
    assert under_way["running"]
    assert "deactivating" in under_way["detail"]
    assert not stopped["running"]


def test_one_that_notifies_is_ready_when_it_is_started(ask: Ask) -> None:
    [started] = ask("notify", "start")
    assert started["seconds"] > 0.9
    assert started["detail"].startswith("active (running)")


def test_one_that_fails_while_it_starts_is_said_at_once_and_is_not_tried_twice(ask: Ask, units: Host) -> None:
    [failed] = ask("unready", "start")
    assert "systemd did not start unready.service: Job for unready.service failed" in failed["error"]
    assert "journalctl -u unready.service" in failed["error"]
    assert units.run("wc", "-l", "/run/unready").split()[0] == "1"


def test_one_whose_program_is_missing_is_said_at_once(ask: Ask) -> None:
    failed, now = ask("absent", "start", "status")
    assert "systemd did not start absent.service" in failed["error"]
    assert (now["running"], now["pid"]) == (False, 0)


def test_a_unit_that_is_not_there_is_named(ask: Ask) -> None:
    for said in ask("nothing", "status", "start", "stop"):
        assert "nothing.service" in said["error"]
    [said] = ask("nothing", "status")
    assert said["error"] == "systemd knows no unit nothing.service. Correct “unit” in the manifest."


def test_one_that_systemd_has_given_up_on_is_started_all_the_same(ask: Ask, units: Host) -> None:
    units.shell("systemctl start crashing; until systemctl is-failed --quiet crashing; do sleep 0.05; done")
    assert "Start request repeated too quickly" in units.journal("crashing")
    units.run("touch", "/srv/repaired")
    [started] = ask("crashing", "start")
    assert started["running"]
    assert started["pid"]


def test_one_that_was_restarted_too_often_is_started_all_the_same(ask: Ask) -> None:
    ends = ask("simple", *(["stop", "start"] * 8))
    assert [now.get("running") for now in ends] == [False, True] * 8


def test_one_between_a_crash_and_its_restart_counts_as_running_and_is_stopped_for_good(ask: Ask) -> None:
    between, _, stopped = ask("coming-back", "start", "status", "stop")
    assert between["running"]
    assert (stopped["running"], stopped["pid"]) == (False, 0)


def test_without_the_right_nothing_is_done_and_the_missing_rule_is_named(ask: Ask, units: Host) -> None:
    units.run("systemctl", "start", "forbidden")
    pid = units.run("systemctl", "show", "--value", "--property", "MainPID", "forbidden")
    stopped, now = ask("forbidden", "stop", "status")
    assert "systemd did not stop forbidden.service: " in stopped["error"]
    assert "host_rights" in stopped["error"]
    assert (now["running"], str(now["pid"])) == (True, pid)


def test_the_right_is_for_this_unit_and_these_verbs_alone(units: Host) -> None:
    units.run("systemctl", "start", "simple")
    may = {verb: tried(units, "systemctl", "--no-ask-password", *verb.split()) for verb in VERBS}
    assert may == VERBS


def tried(host: Host, *words: str) -> bool:
    """Does systemd do it for the worker's user?"""
    said = host.as_owner("sh", "-c", '"$@" >/dev/null 2>&1; echo $?', "sh", *words)
    return said == "0"


def test_where_there_is_no_polkit_the_same_right_comes_from_sudo(make_host: MakeHost) -> None:
    host = make_host("beta", worker=False)
    lay_units_out(host)
    host.run("dpkg", "--remove", "--force-depends", "polkitd")
    [without] = host.python(ASK, "simple", "start")
    assert "systemd did not start simple.service: sudo: a password is required" in without["error"]
    assert "host_rights" in without["error"]

    host.write("/etc/sudoers.d/portal-simple", granted("simple", sudoers), 0o440)
    assert "parsed OK" in host.run("visudo", "--check")
    started, stopped, again = host.python(ASK, "simple", "start", "stop", "start")
    assert (started["running"], stopped["running"]) == (True, False)
    assert again["pid"] not in (0, started["pid"])
    for words in ("kill simple", "stop simple dbus", "stop dbus", "--signal=KILL stop simple", "edit simple"):
        assert not tried(host, "sudo", "-n", "systemctl", *words.split())
    assert not tried(host, "sudo", "-n", "true")
