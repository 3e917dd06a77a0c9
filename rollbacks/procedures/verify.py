"""Verify the running process, not the disk: a switch that left the old process running is no rollback."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rollbacks.procedures import stage
from rollbacks.procedures.base import Context, Facts, Step, StepFailed
from rollbacks.procedures.switch import staged_files, target_commit
from rollbacks.procedures.switcher import same
from rollbacks.tools import environment, files, git, probe, service

HEALTHY_WITHIN = 30.0  # seconds after the start in which the service has to answer well
LOG_TAIL = 64 * 1024  # bytes of each log file that are searched for new errors
CLOCK_SLACK = 1.0  # seconds: a process's start is only known to the kernel's tick, and btime may be off by rounding


def check_process(context: Context) -> Facts:
    """The main process is a new one, started after the switch, in the checkout, with the environment's interpreter."""
    manager = context.manifest.service
    if manager.manager == "none":
        context.say("the manifest names no service manager: no process to verify\n")
        return {}
    switched = context.facts["switch"]
    status = service.for_service(manager).status()
    process = probe.process(status.pid) if status.running else None
    if process is None:
        raise StepFailed(f"The service does not run: {status.detail}")
    context.say(f"main PID {process.pid}, in {process.cwd}, {process.exe}\n")
    if process.pid == switched["old_pid"] or process.started_at < switched["stopped_at"] - CLOCK_SLACK:
        raise StepFailed(f"PID {process.pid} was started before the switch: the old process still runs.")
    if Path(process.cwd).resolve() != context.root.resolve():
        raise StepFailed(f"PID {process.pid} runs in {process.cwd}, not in {context.root}.")
    if context.goal["lock"]:
        check_interpreter(context, process)
    return {"pid": process.pid, "exe": process.exe}


def check_interpreter(context: Context, process: probe.Process) -> None:
    wanted = stage.kept_environment(context.manifest, context.goal["lock"])
    live = context.manifest.live_environment
    if live.resolve() != wanted.resolve():
        raise StepFailed(f"{live} is not the environment {wanted}.")
    python = environment.base_python(wanted).resolve()
    if "python" in os.path.basename(process.exe) and Path(process.exe).resolve() != python:
        raise StepFailed(f"PID {process.pid} runs {process.exe}, not {python}.")


def check_disk(context: Context) -> None:
    """What the process was started from is what was asked for."""
    wanted = target_commit(context)
    head = git.head(context.root)
    if head.commit != wanted:
        raise StepFailed(f"{context.root} is at {head.commit[:10]}, not at {wanted[:10]}.")
    wrong = [
        name
        for name, staged in staged_files(context).items()
        if not same(Path(staged), files.inside(context.root, name))
    ]
    if wrong:
        raise StepFailed(f"Configuration is not as planned: {', '.join(wrong)}")


def check_health(context: Context) -> Facts:
    """A healthy answer within 30 s, from the process that was verified; then the smoke test; new errors are shown."""
    facts: Facts = {}
    if context.manifest.health_url:
        facts["health"] = wait_healthy(context)
    else:
        context.say("the manifest names no health URL: its health cannot be measured\n")
    if words := context.manifest.commands.get("smoke"):
        context.say(f"$ {words}\n")
        facts["smoke_seconds"] = stage.run_owner(context, words, context.root, context.manifest.live_environment)
    check_still(context)
    facts["errors"] = show_errors(context)
    return facts


def wait_healthy(context: Context) -> str:
    deadline = time.monotonic() + HEALTHY_WITHIN
    while True:
        health = probe.health(context.manifest.health_url)
        if health.ok:
            context.say(f"health: {health.detail}\n")
            return health.detail
        if time.monotonic() > deadline or context.stopped():
            raise StepFailed(f"The service is not healthy after {HEALTHY_WITHIN:.0f} s: {health.detail}")
        time.sleep(0.05)


def check_still(context: Context) -> None:
    """A service that is restarted again and again by its manager answers now and then: that is not healthy."""
    pid = context.facts["process"].get("pid")
    if pid and service.for_service(context.manifest.service).status().pid != pid:
        raise StepFailed(f"PID {pid} has ended since it was verified: the service does not stay up.")


def show_errors(context: Context) -> int:
    """New lines with ERROR or Traceback in the system's logs; a reader judges them, they fail nothing."""
    since = context.facts["switch"].get("stopped_at", 0.0)
    found = 0
    for folder in context.manifest.logs:
        for path in sorted(files.inside(context.root, folder).glob("*.log")):
            if path.stat().st_mtime >= since:
                found += show_tail(context, path)
    return found


def show_tail(context: Context, path: Path) -> int:
    """Only what was written after the safety point: its size then is where to begin."""
    begin = context.facts["safety"].get("logs", {}).get(path.name, 0)
    with path.open("rb") as log:
        log.seek(max(begin, path.stat().st_size - LOG_TAIL))
        lines = log.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line or "Traceback" in line]
    for line in errors[:20]:
        context.say(f"{path.name}: {line}\n")
    return len(errors)


def record(context: Context) -> Facts:
    """Leave the host tidy and labelled: the stage goes, DEPLOYED_VERSION.txt of the guide is kept beside the fence."""
    stage.drop_stage(context)
    files.write(context.state_dir / "DEPLOYED_VERSION.txt", f"{target_commit(context)}\n".encode())
    return {"commit": target_commit(context)}


PROCESS = Step("process", "Verify the running process", check_process, verify=check_disk)
HEALTH = Step("health", "Verify health and smoke test", check_health)
RECORD = Step("record", "Record and tidy up", record)
