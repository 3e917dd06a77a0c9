"""Verify the running process, not the disk: a switch that left the old process running is no rollback."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rollbacks.procedures import safety, stage
from rollbacks.procedures.base import Context, Facts, Step, StepFailed, in_words
from rollbacks.tools import ToolError, environment, files, git, probe, service

HEALTHY_WITHIN = 30.0  # seconds after the start in which the service has to answer well
LOG_TAIL = 64 * 1024  # bytes of each log file that are searched for new errors
TICK = 0.02  # seconds: how exactly the kernel tells a start, and how far two looks at it may differ


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
    # its number says nothing: a host that was off since counts from 1 again
    if switched["boot"] == probe.boot() and process.started < switched["stopped_at"] - TICK:
        raise StepFailed(f"PID {process.pid} was started before the switch: the old process still runs.")
    if process.cwd and Path(process.cwd).resolve() != context.root.resolve():  # "" is another user's, not ours to see
        raise StepFailed(f"PID {process.pid} runs in {process.cwd}, not in {context.root}.")
    if context.goal["lock"]:
        check_interpreter(context, process)
    return {"pid": process.pid, "exe": process.exe, "boot": boot()}


def boot() -> str:
    """Another one after the host was off: the processes of before are gone, and their numbers mean others."""
    return f"{probe.boot()}:{probe.namespace()}"


def check_interpreter(context: Context, process: probe.Process) -> None:
    wanted = stage.staged_environment(context)
    live = context.manifest.live_environment
    if live.resolve() != wanted.resolve():
        raise StepFailed(f"{live} is not the environment {wanted}.")
    python = environment.base_python(wanted).resolve()
    if "python" in os.path.basename(process.exe) and Path(process.exe).resolve() != python:
        raise StepFailed(f"PID {process.pid} runs {process.exe}, not {python}.")


def check_disk(context: Context) -> None:
    """What the process was started from is what was asked for."""
    wanted, staged = stage.target_commit(context), stage.staged_files(context)
    head = git.head(context.root)
    if head.commit != wanted:
        raise StepFailed(f"{context.root} is at {head.commit[:10]}, not at {wanted[:10]}.")
    wrong = [name for name, path in staged.items() if not files.same(Path(path), files.inside(context.root, name))]
    if wrong:
        raise StepFailed(f"Configuration is not as planned: {', '.join(wrong)}")
    ignoring = (*context.manifest.config, *context.manifest.secrets, *context.manifest.unwatched)
    paths = context.goal["paths"]
    if (context.goal["commit"] or paths) and git.differs(context.root, wanted, only=paths, ignoring=ignoring):
        raise StepFailed(f"Files in {context.root} are not those of {wanted[:10]}.")


def check_health(context: Context) -> Facts:
    """A healthy answer within 30 s, from the process that was verified; then the smoke test; new errors are shown."""
    facts: Facts = {}
    if context.facts["process"].get("boot", boot()) != boot():
        context.say("the host was off since the process was verified\n")
        context.facts["process"] = check_process(context)
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
        if context.stopped():
            raise StepFailed(f"Stopped while the service was not healthy yet: {health.detail}")
        if time.monotonic() > deadline:
            raise StepFailed(f"The service is not healthy after {HEALTHY_WITHIN:g} s: {health.detail}")
        time.sleep(0.05)


def check_still(context: Context) -> None:
    """A service that is restarted again and again by its manager answers now and then: that is not healthy."""
    pid = context.facts["process"].get("pid")
    if pid and service.for_service(context.manifest.service).status().pid != pid:
        raise StepFailed(f"PID {pid} has ended since it was verified: the service does not stay up.")


def show_errors(context: Context) -> int:
    """New lines with ERROR or Traceback in the system's logs; a reader judges them, they fail nothing."""
    found = 0
    for path in safety.log_files(context):
        try:
            found += show_tail(context, path)
        except OSError as error:  # rotated away, or not ours to read
            context.say(f"{path.name} cannot be read: {error}\n")
    return found


def show_tail(context: Context, path: Path) -> int:
    """Only what was written after the safety point: its size then is where to begin."""
    begin, size = context.facts["safety"]["logs"].get(str(path.relative_to(context.root)), 0), path.stat().st_size
    if size < begin:  # rotated since: all of it is new
        begin = 0
    with path.open("rb") as log:
        log.seek(max(begin, size - LOG_TAIL))
        lines = log.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line or "Traceback" in line]
    for line in errors[:20]:
        context.say(f"{path.name}: {line}\n")
    return len(errors)


def record(context: Context) -> Facts:
    """Leave the host tidy and labelled: the stage goes, DEPLOYED_VERSION.txt of the guide is kept beside the fence.
    A service that is well is not switched again because this could not be done."""
    commit = stage.target_commit(context)
    try:
        stage.drop_stage(context)
        files.write(context.state_dir / "DEPLOYED_VERSION.txt", f"{commit}\n".encode())
    except (ToolError, OSError) as error:
        context.say(f"warning: {context.stage} could not be tidied up, do it by hand: {in_words(error)}\n")
    return {"commit": commit, "left_at": standing(context)}


def standing(context: Context) -> Facts:
    """What a person who deploys would change."""
    head, live = git.head(context.root), environment.current(context.manifest.live_environment)
    return {
        "the commit": head.commit,
        "the branch": head.branch,
        "tracked files": git.tree_state(context.root, context.manifest.unwatched, tracked=True, at=head),
        "the environment": [live.kind, live.target],
        "configuration": safety.config_hashes(context),
    }


def changed_since(context: Context) -> list[str]:
    """What is no longer as a rollback that had ended well left it: somebody has deployed since."""
    left_at = context.facts.get("record", {}).get("left_at")
    if left_at is None:
        return []
    now = standing(context)
    return [name for name in left_at if left_at[name] != now[name]]


PROCESS = Step("process", "Verify the running process", check_process, verify=check_disk)
HEALTH = Step("health", "Verify health and smoke test", check_health)
RECORD = Step("record", "Record and tidy up", record)
