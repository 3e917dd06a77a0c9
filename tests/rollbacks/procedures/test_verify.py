from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from portal.supervision import wait_until
from rollbacks.procedures import safety, stage, verify
from rollbacks.procedures.base import Context, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import ENVIRONMENT, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import files, manifest, probe
from rollbacks.tools.manifest import Manifest, Service
from tests.conftest import git
from tests.rollbacks.procedures.conftest import Planned, Words, carry
from tests.rollbacks.procedures.serving import CRASHING, SILENT, Served, release

Make = Callable[..., Context]
SWITCHED = (PREFLIGHT, SAFETY, WORKTREE, ENVIRONMENT, SWITCH)


@pytest.fixture
def of(served: Served) -> Manifest:
    return manifest.parse(served.manifest())


@pytest.fixture
def switched(context: Make, of: Manifest, served: Served) -> Context:
    """As after the switch: the service was started just now, from what is checked out."""
    began = probe.uptime()
    pid = served.start()
    mine = context(of, goal={"commit": git(of.root, "rev-parse", "HEAD"), "lock": "", "config": {}, "point": None})
    mine.facts |= {
        "safety": {"logs": safety.log_sizes(mine)},
        "switch": {"pid": pid, "old_pid": 0, "boot": probe.boot(), "stopped_at": began, "started_at": began},
    }
    return mine


# --- the process ----------------------------------------------------------------------------------------------------


def test_a_switched_system_is_verified_from_its_process_to_its_label(
    planned: Planned, of: Manifest, served: Served, said: Words, checkout: Path
) -> None:
    old = served.start()
    mine = planned(of)
    carry(mine, *SWITCHED, PROCESS, HEALTH, RECORD)
    assert mine.facts["process"]["pid"] == served.pid != old
    assert mine.facts["health"]["health"].startswith("200 in ")
    assert f"main PID {served.pid}, in {checkout}" in str(said)
    assert (checkout / ".rollback/DEPLOYED_VERSION.txt").read_text().strip() == git(checkout, "rev-parse", "v1")
    assert not mine.stage.exists()


def test_the_old_process_is_no_rollback(switched: Context, served: Served) -> None:
    switched.facts["switch"] |= {"old_pid": served.pid, "stopped_at": probe.uptime()}
    with pytest.raises(StepFailed, match=rf"PID {served.pid} was started before the switch: the old process still"):
        PROCESS.apply(switched)


def test_a_new_process_with_the_old_ones_number_is_a_new_one(switched: Context, served: Served) -> None:
    """A host that was off since counts from 1 again, and comes up as it always does."""
    switched.facts["switch"]["old_pid"] = served.pid
    carry(switched, PROCESS)


def test_a_process_that_is_older_than_the_switch_is_no_rollback(switched: Context) -> None:
    switched.facts["switch"]["stopped_at"] = probe.uptime() + 60
    with pytest.raises(StepFailed, match="was started before the switch"):
        PROCESS.apply(switched)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_during_the_switch_does_not_matter(switched: Context, hours: int) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)):
        carry(switched, PROCESS)


def test_after_the_host_was_off_every_process_is_a_new_one(switched: Context) -> None:
    switched.facts["switch"] |= {"boot": "another", "stopped_at": probe.uptime() + 60}
    carry(switched, PROCESS)


def test_a_service_that_does_not_run_is_said(switched: Context, served: Served) -> None:
    served.manager.stop(5)
    with pytest.raises(StepFailed, match="The service does not run: STOPPED"):
        PROCESS.apply(switched)


def test_a_service_that_crashes_again_and_again_does_not_run(switched: Context, served: Served, checkout: Path) -> None:
    served.manager.stop(5)
    release(checkout, CRASHING)
    served.manager.start()
    assert wait_until(lambda: "BACKOFF" in served.manager.status().detail, 10)
    with pytest.raises(StepFailed, match=r"The service does not run: (BACKOFF|STARTING)"):
        PROCESS.apply(switched)


def test_a_process_of_another_directory_is_no_rollback(switched: Context, tmp_path: Path) -> None:
    switched.manifest = replace(switched.manifest, root=tmp_path)
    with pytest.raises(StepFailed, match=rf"runs in .*agents, not in {tmp_path}\."):
        PROCESS.apply(switched)


def test_a_process_of_another_user_shows_no_directory_and_is_not_doubted(
    switched: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "link", lambda pid, name: "")  # what the kernel says to who is neither it nor root
    carry(switched, PROCESS)


def test_a_process_of_another_interpreter_is_no_rollback(
    switched: Context, served: Served, checkout: Path, tmp_path: Path
) -> None:
    other = tmp_path / "python3.9"
    other.write_bytes(b"")
    kept = stage.kept_environment(switched.manifest, "0123456789abcdef")
    (kept / "bin").mkdir(parents=True)
    (kept / "bin/python").symlink_to(other)
    (checkout / ".venv").symlink_to(kept)
    switched.goal["lock"] = "0123456789abcdef"
    with pytest.raises(StepFailed, match=rf"PID {served.pid} runs .*python.*, not {other}\."):
        PROCESS.apply(switched)


def test_an_environment_that_is_not_the_one_staged_is_noticed(switched: Context) -> None:
    switched.goal["lock"] = "0123456789abcdef"
    with pytest.raises(StepFailed, match=r"agents/\.venv is not the environment .*0123456789abcdef"):
        PROCESS.apply(switched)


def test_the_staged_environments_interpreter_is_recognised(switched: Context, checkout: Path) -> None:
    kept = stage.kept_environment(switched.manifest, "0123456789abcdef")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(kept)], check=True)
    (checkout / ".venv").symlink_to(kept)
    switched.goal["lock"] = "0123456789abcdef"
    carry(switched, PROCESS)


def test_without_a_service_manager_there_is_no_process_to_verify(switched: Context, said: Words) -> None:
    switched.manifest = replace(switched.manifest, service=Service("none"))
    carry(switched, PROCESS)
    assert "no process to verify" in str(said)


# --- the disk -------------------------------------------------------------------------------------------------------


def test_another_commit_on_disk_is_noticed(switched: Context, checkout: Path) -> None:
    git(checkout, "checkout", "-q", "v1")
    with pytest.raises(StepFailed, match=r"is at \w{10}, not at \w{10}"):
        PROCESS.verify(switched)


def test_configuration_that_is_not_as_planned_is_noticed(switched: Context, checkout: Path) -> None:
    switched.goal["config"] = {"config/agents.json": "live"}
    staged = stage.files_dir(switched) / "config/agents.json"
    staged.parent.mkdir(parents=True)
    files.copy(checkout / "config/agents.json", staged)
    PROCESS.verify(switched)
    (checkout / "config/agents.json").write_text('{"model": "another"}')
    with pytest.raises(StepFailed, match=r"Configuration is not as planned: config/agents\.json"):
        PROCESS.verify(switched)


# --- health ---------------------------------------------------------------------------------------------------------


def test_a_service_that_answers_500_is_not_healthy(switched: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "HEALTHY_WITHIN", 0.2)
    carry(switched, PROCESS)
    with pytest.raises(StepFailed, match=r"not healthy after 0\.2 s: 500: release 2"):
        HEALTH.apply(switched)


def test_a_service_that_never_answers_is_not_healthy(
    planned: Planned, served: Served, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "HEALTHY_WITHIN", 0.2)
    release(checkout, SILENT, "v1")
    release(checkout, "on top = of it\n")
    mine = planned(manifest.parse(served.manifest()))
    carry(mine, *SWITCHED, PROCESS)
    with pytest.raises(StepFailed, match=r"not healthy after 0\.2 s: connection refused"):
        HEALTH.apply(mine)


def test_a_wait_that_somebody_stops_says_so(switched: Context) -> None:
    carry(switched, PROCESS)
    switched.stopped = lambda: True
    began = time.monotonic()
    with pytest.raises(StepFailed, match="Stopped while the service was not healthy yet: 500"):
        HEALTH.apply(switched)
    assert time.monotonic() - began < 10


def test_a_healthy_answer_of_a_process_that_has_ended_since_does_not_count(
    planned: Planned, of: Manifest, served: Served
) -> None:
    mine = planned(of)
    carry(mine, *SWITCHED, PROCESS)
    served.manager.stop(5)
    served.start()
    with pytest.raises(StepFailed, match="has ended since it was verified: the service does not stay up"):
        HEALTH.apply(mine)


def test_after_the_host_was_off_the_process_is_verified_anew(planned: Planned, of: Manifest, served: Served) -> None:
    mine = planned(of)
    carry(mine, *SWITCHED, PROCESS)
    mine.facts["process"]["boot"] = "an earlier one"
    served.manager.stop(5)
    pid = served.start()
    carry(mine, HEALTH)
    assert mine.facts["process"]["pid"] == pid


def test_the_smoke_test_has_a_word_too(switched: Context, said: Words) -> None:
    smoke = {"smoke": "cat app.py | head -1; echo cannot import; exit 4"}
    switched.manifest = replace(switched.manifest, commands=smoke, health_url="")
    carry(switched, PROCESS)
    with pytest.raises(StepFailed, match="ended with code 4: cannot import"):
        HEALTH.apply(switched)
    assert "import socket" in str(said)  # it ran in the live checkout
    assert "its health cannot be measured" in str(said)


# --- the logs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(context: Make, agents: Manifest, checkout: Path) -> Context:
    """A system whose log had an error before the switch already."""
    (checkout / "logs/app.log").write_text("ERROR that everybody knows\n")
    mine = context(agents, goal={"commit": "", "lock": "", "config": {}})
    mine.facts |= {
        "safety": {"logs": safety.log_sizes(mine)},
        "switch": {"boot": probe.boot(), "stopped_at": 0.0},
        "process": {},
    }
    return mine


def test_new_errors_in_the_log_are_shown_and_old_ones_are_not(logged: Context, checkout: Path, said: Words) -> None:
    with (checkout / "logs/app.log").open("a") as log:
        log.write("started\nERROR: no such model\n")
    (checkout / "logs/other.log").write_text("Traceback (most recent call last):\n")
    assert verify.show_errors(logged) == 2
    assert str(said) == "app.log: ERROR: no such model\nother.log: Traceback (most recent call last):\n"


def test_a_log_that_was_rotated_is_read_from_its_beginning(logged: Context, checkout: Path, said: Words) -> None:
    (checkout / "logs/app.log").write_text("ERROR: new\n")
    assert verify.show_errors(logged) == 1


def test_a_log_that_cannot_be_read_does_not_undo_a_rollback(logged: Context, checkout: Path, said: Words) -> None:
    (checkout / "logs/gone.log").symlink_to("/nowhere")
    assert verify.show_errors(logged) == 0
    assert "gone.log cannot be read" in str(said)


def test_logs_of_one_name_in_two_folders_are_told_apart(context: Make, agents: Manifest, checkout: Path) -> None:
    two = replace(agents, logs=("logs", "more"))
    (checkout / "more").mkdir()
    (checkout / "logs/app.log").write_text("ERROR\n" * 100)
    (checkout / "more/app.log").write_text("")
    mine = context(two, goal={})
    mine.facts |= {"safety": {"logs": safety.log_sizes(mine)}}
    (checkout / "more/app.log").write_text("ERROR: new\n")
    assert verify.show_errors(mine) == 1


# --- the record -----------------------------------------------------------------------------------------------------


def test_a_stage_that_cannot_be_tidied_up_does_not_undo_a_rollback(
    planned: Planned, agents: Manifest, said: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = planned(agents)
    carry(mine, *SWITCHED)
    with monkeypatch.context() as denied:
        denied.setattr(shutil, "rmtree", refuse)
        carry(mine, RECORD)
    assert "could not be tidied up, do it by hand: " in str(said)


remove = shutil.rmtree


def refuse(path: object, *args: Any, **words: Any) -> None:
    if ".rollback" in str(path):
        raise PermissionError(13, "Permission denied", str(path))
    remove(str(path), *args, **words)
