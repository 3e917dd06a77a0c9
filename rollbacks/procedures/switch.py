"""The switch: the only step in which the service is down. Stop, put in place what was staged, start.

This is the worker's side: it writes the journal, launches the switcher (a process of its own, which outlives the
worker), follows it, and undoes it. The host's side is switcher.py.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import rollbacks
from rollbacks.procedures import journal, safety, stage
from rollbacks.procedures.base import Context, Facts, Step, StepFailed
from rollbacks.tools import command, environment, git, service

LAUNCH_SECONDS = 300.0
# What a goal does not name is left alone. `back`: to the state as found; `snapshot`: its code, uncommitted or not.
NOTHING: Facts = {
    "commit": "", "branch": "", "source": "", "paths": [], "snapshot": "", "index": "", "advanced": "", "back": False,
    "environment": "", "files": {}, "absent": [], "directories": {}, "directories_back": {}, "logs": [],
    "logs_back": [], "reset": "",
}  # fmt: skip


def journal_path(context: Context, direction: str) -> Path:
    return context.state_dir / "switches" / f"{context.run}-{direction}.json"


def target_commit(context: Context) -> str:
    """Where HEAD will be: the procedure's commit, the one that restores a component, or where it was found."""
    component: str = context.facts.get("component", {}).get("commit", "")
    return str(context.goal["commit"] or component or context.facts["safety"]["commit"])


def forward_goal(context: Context) -> Facts:
    goal, manifest = context.goal, context.manifest
    code = bool(goal["commit"] or goal["paths"])
    return {
        **common_goal(context),
        "commit": target_commit(context) if code else "",
        "source": goal["source"],
        "paths": goal["paths"],
        "environment": str(stage.kept_environment(manifest, goal["lock"])) if goal["lock"] else "",
        "files": staged_files(context),
        "directories": {name: str(stage.staged_artifacts(context) / name) for name in goal["artifacts"]},
        "logs": goal["logs"],
        "reset": manifest.commands.get("reset_metrics", "") if goal["reset"] else "",
        "running": True,
    }


def staged_files(context: Context) -> dict[str, str]:
    staged = {name: stage.files_dir(context) / name for name in (*context.goal["config"], *context.goal["secrets"])}
    return {name: str(path) for name, path in staged.items() if path.is_file()}


def backward_goal(context: Context) -> Facts:
    goal, found = context.goal, context.facts["safety"]
    kept = safety.as_found(context)
    places = {name: kept / folder / name for name in found["config"] for folder in ("config", "secrets")
              if (kept / folder / name).is_file()}  # fmt: skip
    moved = bool(goal["commit"] or goal["paths"])
    return {
        **common_goal(context),
        "commit": found["commit"] if moved else "",
        "branch": found["branch"],
        "snapshot": found["snapshot"] if moved else "",
        "index": str(kept / "index"),
        "advanced": target_commit(context) if goal["paths"] else "",
        "back": True,
        "files": {name: str(path) for name, path in places.items()},
        "absent": [name for name, sha in found["config"].items() if not sha and name in staged_names(goal)],
        "directories_back": {name: found["artifacts"].get(name, False) for name in goal["artifacts"]},
        "logs_back": goal["logs"],
        "running": found["running"],
    }


def staged_names(goal: Facts) -> list[str]:
    return [*goal["config"], *goal["secrets"]]


def common_goal(context: Context) -> Facts:
    manifest, found = context.manifest, context.facts["safety"]
    return {
        **NOTHING,
        "run": context.run,
        "root": str(manifest.root),
        "live_environment": str(manifest.live_environment),
        "found_commit": found["commit"],
        "found_environment": found["environment"],
        "set_aside": str(safety.as_found(context)),
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
    """What a person types to bring back the state as found: only what this procedure moves."""
    found, goal, kept = context.facts.get("safety", {}), context.goal, safety.as_found(context)
    manager = service.for_service(context.manifest.service)
    root = shlex.quote(str(context.root))
    lines = [manager.by_hand("stop")]
    if goal["commit"] or goal["paths"]:
        if goal["paths"] and found.get("branch"):
            lines.append(f"git -C {root} branch --force {shlex.quote(found['branch'])} {found.get('commit')}")
        lines.append(f"git -C {root} checkout --force {shlex.quote(found.get('branch') or found.get('commit', ''))}")
        lines.append(f"git -C {root} restore --source {found.get('snapshot')} --worktree -- .")
    if goal["lock"]:
        live, was = shlex.quote(str(context.manifest.live_environment)), found.get("environment", {})
        if was.get("kind") == "link":
            lines.append(f"ln -sfn {shlex.quote(was['target'])} {live}")
        else:
            lines.append(
                f"rm {live} && mv {shlex.quote(str(kept / 'environment'))} {live}   # only if {live} is a link"
            )
    for name in goal["artifacts"]:
        live, was_at = shlex.quote(str(context.root / name)), shlex.quote(str(kept / "artifacts" / name))
        lines.append(f"[ ! -e {was_at} ] || {{ mv {live} {live}.undone; mv {was_at} {live}; }}")
    lines += [f"cp -a {shlex.quote(str(kept / folder))}/. {root}/" for folder in ("config", "secrets")
              if (kept / folder).is_dir()]  # fmt: skip
    return [*lines, manager.by_hand("start")]


SWITCH = Step("switch", "Switch: stop, put in place, start", apply, undo=undo, by_hand=by_hand, outage=True)
