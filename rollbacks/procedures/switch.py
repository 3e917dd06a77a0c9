"""The switch: the only step in which the service is down. Stop, put in place what was staged, start.

This is the worker's side: it writes the journal, launches the switcher (a process of its own, which outlives the
worker), follows it, and undoes it. The host's side is switcher.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import rollbacks
from rollbacks.procedures import journal, safety, stage
from rollbacks.procedures.base import Context, Facts, Step, StepFailed
from rollbacks.tools import command, environment, git, service

LAUNCH_SECONDS = 300.0


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
        "config": {
            name: str(context.stage / "config" / name)
            for name in context.goal["config"]
            if (context.stage / "config" / name).is_file()
        },
        "running": True,
    }


def backward_goal(context: Context) -> Facts:
    found = context.facts["safety"]
    kept = safety.as_found(context)
    names = found["config"]
    return {
        **common_goal(context),
        "commit": found["commit"],
        "branch": found["branch"],
        "snapshot": found["snapshot"],
        "index": str(kept / "index"),
        "environment": "",
        "config": {
            name: str(kept / folder / name)
            for folder in ("config", "secrets")
            for name in names
            if (kept / folder / name).is_file()
        },
        "running": found["running"],
    }


def common_goal(context: Context) -> Facts:
    manifest = context.manifest
    return {
        "run": context.run,
        "root": str(manifest.root),
        "live_environment": str(manifest.live_environment),
        "found_environment": context.facts["safety"]["environment"],
        "set_aside": str(context.state_dir / "found" / str(context.run) / "environment"),
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
    if found["running"] and not service.for_service(context.manifest.service).status().running:
        raise StepFailed("The service ran when it was found, and does not run now.")


def carry_out(context: Context, direction: str, goal: Facts) -> Facts:
    """Write the journal (once), launch the switch, and follow it to its end. Returns the journal's "done"."""
    path = journal_path(context, direction)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = journal.read(path)
    if written.get("goal") != goal:
        status = service.for_service(context.manifest.service).status()
        written = {"goal": goal, "old_pid": status.pid, "began": time.time()}
    written["token"] = context.token
    journal.write(path, written)
    code = follow(context, path)
    done = journal.read(path).get("done")
    if code != 0 or not done:
        raise StepFailed(f"The switch ended with code {code}; its words are above, its journal is {path}.")
    return {**done, "old_pid": written["old_pid"]}


def follow(context: Context, path: Path) -> int:
    """Launch the switch in a session of its own and hand on what it prints. Abort does not cut it short."""
    project = str(Path(rollbacks.__file__).resolve().parent.parent)
    printed = path.with_suffix(".out")
    with printed.open("ab") as output:
        start = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "rollbacks.procedures.switcher", str(path)],
            cwd=context.root,
            env={**command.clean_environment(), "PYTHONPATH": project},
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
    return int(child.returncode)


def by_hand(context: Context) -> list[str]:
    """What a person types to bring back the state as found."""
    found = context.facts.get("safety", {})
    manager = service.for_service(context.manifest.service)
    return [
        manager.by_hand("stop"),
        f"git -C {context.root} checkout --force {found.get('branch') or found.get('commit')}",
        f"git -C {context.root} restore --source {found.get('snapshot')} --worktree -- .",
        f"ls -l {context.manifest.live_environment}   # was: {found.get('environment')}",
        f"cp -a {safety.as_found(context)}/config/. {context.root}/",
        manager.by_hand("start"),
    ]


SWITCH = Step("switch", "Switch: stop, put in place, start", apply, undo=undo, by_hand=by_hand, outage=True)
