"""The switch: the only step in which the service is down. Stop, put in place what was staged, start.

This is the worker's side: it writes the journal, launches the switcher (a process of its own, which outlives the
worker), follows it, and undoes it. The host's side is switcher.py.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import rollbacks
from rollbacks.procedures import journal, safety, stage, verify
from rollbacks.procedures.base import Context, Facts, Step, StepFailed
from rollbacks.tools import command, environment, git, service

LAUNCH_SECONDS = 300.0
RUNS_WITHIN = 5.0  # seconds: a service that crashes and is started again by its manager has moments without a process
PROJECT = Path(rollbacks.__file__).resolve().parent.parent


def journal_path(context: Context, direction: str) -> Path:
    return context.state_dir / "switches" / f"{context.run}-{direction}.json"


def forward_goal(context: Context) -> Facts:
    lock = context.goal["lock"]
    return {
        **common_goal(context),
        "commit": context.goal["commit"],
        "branch": "",
        "snapshot": "",
        "environment": str(stage.kept_environment(context.manifest, lock)) if lock else "",
        # secrets stay as they are, also when an old release has them in git
        "config": kept_files(context.manifest.secrets, safety.as_found(context) / "secrets")
        | kept_files(context.goal["config"], context.stage / "config"),
        "absent": [],
        "running": True,
    }


def backward_goal(context: Context) -> Facts:
    found = context.facts["safety"]
    kept = safety.as_found(context)
    return {
        **common_goal(context),
        "commit": found["commit"],
        "branch": found["branch"],
        "snapshot": found["snapshot"],
        "index": str(kept / "index"),
        "environment": "",
        "config": kept_files(found["config"], kept / "secrets") | kept_files(found["config"], kept / "config"),
        "absent": [name for name, sha in found["config"].items() if not sha],
        "running": found["running"],
    }


def kept_files(names: Iterable[str], folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in names if (folder / name).is_file()}


def common_goal(context: Context) -> Facts:
    manifest, kept = context.manifest, safety.as_found(context)
    return {
        "run": context.run,
        "root": str(manifest.root),
        "live_environment": str(manifest.live_environment),
        "found_environment": context.facts["safety"]["environment"],
        "set_aside": str(kept / "environment"),
        "left": str(kept / "left"),
        "unwatched": list(manifest.unwatched),
        "service": {"manager": manifest.service.manager, "unit": manifest.service.unit, "url": manifest.service.url},
    }


def apply(context: Context) -> Facts:
    return carry_out(context, "there", forward_goal(context))


def undo(context: Context) -> None:
    """Back to the state as found, and verified, hash by hash. Without a journal nothing was ever switched."""
    if not journal_path(context, "there").exists():
        return
    carry_out(context, "back", backward_goal(context))
    verify_as_found(context)


def verify_as_found(context: Context) -> None:
    found = context.facts["safety"]
    tree = git.tree_state(context.root, context.manifest.unwatched)
    if tree != found["tree"]:
        raise StepFailed(f"The work tree of {context.root} is not as it was found ({found['snapshot'][:10]}).")
    live = environment.current(context.manifest.live_environment)
    if {"kind": live.kind, "target": live.target} != found["environment"]:
        raise StepFailed(f"{context.manifest.live_environment} is not the environment that was found.")
    changed = [name for name, sha in safety.config_hashes(context).items() if sha != found["config"][name]]
    if changed:
        raise StepFailed(f"Configuration is not as it was found: {', '.join(changed)}")
    check_service(context, found)


def check_service(context: Context, found: Facts) -> None:
    """As it was found, also when that was no good: what crashed then may crash now; what was well has to be well."""
    manager = service.for_service(context.manifest.service)
    deadline = time.monotonic() + RUNS_WITHIN
    while (now := manager.status()).running != found["running"]:
        if time.monotonic() > deadline:
            before = "ran" if found["running"] else "was stopped"
            raise StepFailed(f"The service {before} when it was found; now it is: {now.detail}.")
        time.sleep(0.02)
    if found["healthy"]:
        verify.wait_healthy(context)


def carry_out(context: Context, direction: str, goal: Facts) -> Facts:
    """Write the journal (once: a predecessor's switch may still be at work, and write there when it ends), launch the
    switch, and follow it to its end. Returns the journal's "done"."""
    path = journal_path(context, direction)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = journal.read(path)
    if written.get("goal") != goal:
        status = service.for_service(context.manifest.service).status()
        written = {"goal": goal, "old_pid": status.pid, "began": time.time()}
        journal.write(path, written)
    code, last = follow(context, path)
    done = journal.read(path).get("done")
    if code != 0 or not done:
        raise StepFailed(f"{last or 'It said nothing.'} (The switch ended with code {code}; its journal is {path}.)")
    return {**done, "old_pid": written["old_pid"]}


def follow(context: Context, path: Path) -> tuple[int, str]:
    """Launch the switch in a session of its own and hand on what it prints; its code and its last line. Abort does not
    cut it short. It works in the portal's directory: in the system's, Python would import the system's modules."""
    printed = path.with_suffix(".out")
    with printed.open("ab") as output:
        start = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "rollbacks.procedures.switcher", str(path), str(context.token)],
            cwd=PROJECT,
            env={**command.clean_environment(), "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with printed.open("rb") as reader:
        reader.seek(start)
        deadline = time.monotonic() + LAUNCH_SECONDS
        while child.poll() is None and time.monotonic() < deadline:
            context.say(reader.read().decode(errors="replace"))
            time.sleep(0.01)
        context.say(reader.read().decode(errors="replace"))
    if child.poll() is None:
        raise StepFailed(f"The switch still runs after {LAUNCH_SECONDS:.0f} s (pid {child.pid}). It is left alone.")
    said = printed.read_bytes()[start:].decode(errors="replace").splitlines()
    return int(child.returncode), next((line.strip() for line in reversed(said) if line.strip()), "")


def by_hand(context: Context) -> list[str]:
    """What a person types to bring back the state as found."""
    found = context.facts["safety"]
    manager = service.for_service(context.manifest.service)
    root, kept = shlex.quote(str(context.root)), shlex.quote(str(safety.as_found(context)))
    return [
        manager.by_hand("stop"),
        f"git -C {root} checkout --force {shlex.quote(found['branch'] or found['commit'])} --",
        f"git -C {root} restore --source {found['snapshot']} --worktree -- .",
        *environment_by_hand(context, environment.Live(**found["environment"])),
        *(
            f"cp -a {kept}/{part}/. {root}/"
            for part in ("config", "secrets")
            if (safety.as_found(context) / part).is_dir()
        ),
        manager.by_hand("start") if found["running"] else "true   # the service was stopped when it was found",
    ]


def environment_by_hand(context: Context, found: environment.Live) -> list[str]:
    live = shlex.quote(str(context.manifest.live_environment))
    aside = safety.as_found(context) / "environment"
    if found.kind == "link":
        return [f"ln -sfn {shlex.quote(found.target)} {live}"]
    if found.kind == "directory" and not aside.exists():
        return []  # it was never set aside
    return [f"rm -f {live}", *([f"mv {shlex.quote(str(aside))} {live}"] if found.kind == "directory" else [])]


SWITCH = Step("switch", "Switch: stop, put in place, start", apply, undo=undo, by_hand=by_hand, outage=True)
