"""The switch: the only step in which the service is down. Stop, put in place what was staged, start.

This is the worker's side: it writes the journal, launches the switcher (a process of its own, which outlives the
worker), follows it, and undoes it. The host's side is switcher.py.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import rollbacks
from rollbacks.procedures import journal, safety, stage, verify
from rollbacks.procedures.base import Context, Facts, Step, StepFailed
from rollbacks.tools import command, environment, files, git, probe, service

LAUNCH_SECONDS = 300.0
# What a goal does not name is left alone. `back`: to the state as found; `snapshot`: its code, uncommitted or not.
NOTHING: Facts = {
    "commit": "", "branch": "", "source": "", "paths": [], "uncommitted": "", "snapshot": "", "index": "",
    "advanced": "", "back": False, "environment": "", "files": {}, "absent": [], "directories": {},
    "directories_back": {}, "logs": [], "logs_back": [], "reset": "",
}  # fmt: skip
BLOCK = 4096  # bytes that a file may take more than it holds
SLACK = 2**20  # bytes: a journal, what the switch prints, configuration
RUNS_WITHIN = 5.0  # seconds: a service that crashes and is started again by its manager has moments without a process
PROJECT = Path(rollbacks.__file__).resolve().parent.parent


def journal_path(context: Context, direction: str) -> Path:
    """Named by the safety tag, as all that outlives a run on the host."""
    return context.state_dir / "switches" / f"{context.safety_tag}-{direction}.json"


def moves_code(context: Context) -> bool:
    return bool(context.goal["commit"] or context.goal["paths"])


def forward_goal(context: Context) -> Facts:
    goal, manifest, found = context.goal, context.manifest, context.facts["safety"]
    # secrets stay as they are, also when an old release has them in git
    secrets = stage.kept_files(manifest.secrets, safety.as_found(context) / "secrets") if moves_code(context) else {}
    return {
        **common_goal(context),
        "commit": stage.target_commit(context) if moves_code(context) else "",
        "source": goal["source"],
        "paths": goal["paths"],
        "uncommitted": found["snapshot"] if found["snapshot"] != found["commit"] else "",
        "environment": str(stage.staged_environment(context)) if goal["lock"] else "",
        "files": secrets | stage.staged_files(context),
        "directories": {name: str(stage.staged_artifacts(context) / name) for name in goal["artifacts"]},
        "logs": goal["logs"],
        "reset": manifest.commands.get("reset_metrics", "") if goal["reset"] else "",
        "running": True,
    }


def backward_goal(context: Context) -> Facts:
    goal, found, kept = context.goal, context.facts["safety"], safety.as_found(context)
    names = found["config"]
    return {
        **common_goal(context),
        "back": True,
        "commit": found["commit"] if moves_code(context) else "",
        "branch": found["branch"],
        "snapshot": found["snapshot"] if moves_code(context) else "",
        "index": str(kept / "index"),
        "advanced": stage.target_commit(context) if goal["paths"] else "",
        "files": stage.kept_files(names, kept / "secrets") | stage.kept_files(names, kept / "config"),
        "absent": [name for name, sha in names.items() if not sha],
        "directories_back": {name: bool(found["artifacts"].get(name)) for name in goal["artifacts"]},
        "logs_back": goal["logs"],
        "running": found["running"],
    }


def common_goal(context: Context) -> Facts:
    manifest, found, kept = context.manifest, context.facts["safety"], safety.as_found(context)
    return {
        **NOTHING,
        "run": context.run,
        "root": str(manifest.root),
        "live_environment": str(manifest.live_environment),
        "found_commit": found["commit"],
        "found_environment": found["environment"],
        "set_aside": str(kept),
        "unwatched": list(manifest.unwatched),
        "service": {"manager": manifest.service.manager, "unit": manifest.service.unit, "url": manifest.service.url},
    }


def apply(context: Context) -> Facts:
    if moves_code(context) and not journal_path(context, "there").exists():  # else a switch of ours may hold it
        git.clear_locks(context.root)  # to wait for a git command, or for one that was killed, is no part of an outage
    files.make_folder(context.stage)
    files.reserve(reserved(context), room_back(context))
    return carry_out(context, "there", forward_goal(context))


def reserved(context: Context) -> Path:
    """Room for the way back, taken while the service still runs: the disk may be full when it is needed."""
    return context.stage / "reserve"


def room_back(context: Context) -> int:
    """Bytes: the files as they are now, the index and copies of it; artifacts and environments are only renamed."""
    changed = []
    if moves_code(context):
        snapshot = context.facts["safety"]["snapshot"]
        changed = git.names_changed(context.root, snapshot, stage.target_commit(context))
    written = [files.file_bytes(context.root / name) + BLOCK for name in changed]
    return sum(written) + 3 * files.file_bytes(safety.as_found(context) / "index") + SLACK


def undo(context: Context) -> None:
    """Back to the state as found, and verified, hash by hash. Without a journal nothing was ever switched."""
    files.remove(reserved(context))
    if not journal_path(context, "there").exists():
        if "switch" in context.facts:
            raise StepFailed(
                f"The journal {journal_path(context, 'there')} is gone, so nobody can know what was switched. Nothing "
                "was changed."
            )
        return
    begun = journal_path(context, "back").exists()  # once it is on its way back, what differs is our own doing
    if not begun and (changed := verify.changed_since(context)):
        raise StepFailed(
            f"Since the rollback somebody changed {', '.join(changed)}. Going back to what was found before it would "
            "overwrite that, so nothing was changed. Settle it by hand, or put that back and try again."
        )
    carry_out(context, "back", backward_goal(context))
    verify_as_found(context)


def verify_as_found(context: Context) -> None:
    """Code, configuration, secrets and environment by their hashes. Artifacts and logs by what they are (inode, link):
    they were renamed and come back by renaming, so what stands there has to be the very directory, the very file.
    Their content is not hashed: a gigabyte takes seconds, and the service, which runs on until the switch and again
    after it, writes there."""
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
    check_renamed(context, found)
    check_service(context, found)


def check_renamed(context: Context, found: Facts) -> None:
    """What was not there when it was found is not looked for: the service may have made it anew by now."""
    was = {name: found["artifacts"][name] for name in context.goal["artifacts"]}
    other = [name for name, each in was.items() if each and safety.identity(context.root / name) != each]
    if other:
        raise StepFailed(
            f"{', '.join(other)} is not what was found. What was found may still be under "
            f"{safety.as_found(context) / 'artifacts'}."
        )
    folders = [context.root / name for name in context.goal["logs"]]
    there = {each.inode() for folder in folders if folder.is_dir() for each in os.scandir(folder)}  # rotated, or not
    lost = [path for path, inode in found["log_inodes"].items() if folders and inode not in there]
    if lost:
        raise StepFailed(f"{', '.join(lost)} did not come back. Look under {safety.as_found(context) / 'logs'}.")


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
        written = {"goal": goal, "old_pid": status.pid, "boot": probe.boot(), "began": probe.uptime()}
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
    """What a person types to bring back the state as found: only what this procedure moves."""
    found, goal, kept = context.facts["safety"], context.goal, safety.as_found(context)
    manager = service.for_service(context.manifest.service)
    root, q = shlex.quote(str(context.root)), shlex.quote
    lines = [manager.by_hand("stop")]
    if goal["paths"] and found["branch"]:  # which cannot be moved while it is checked out
        lines.append(f"git -C {root} checkout --force --detach {found['commit']} --")
        lines.append(f"git -C {root} branch --force {q(found['branch'])} {found['commit']}")
    if moves_code(context):
        lines.append(f"git -C {root} checkout --force {q(found['branch'] or found['commit'])} --")
        lines.append(f"git -C {root} restore --source {found['snapshot']} --worktree -- .")
    if goal["lock"]:
        lines += environment_by_hand(context, environment.Live(**found["environment"]))
    for name in goal["artifacts"]:
        live, was_at = q(str(context.root / name)), q(str(kept / "artifacts" / name))
        lines.append(f"[ ! -e {was_at} -a ! -L {was_at} ] || {{ mv {live} {live}.undone; mv {was_at} {live}; }}")
    for name in goal["logs"]:
        live, was_at = q(str(context.root / name)), q(str(kept / "logs" / name))
        lines.append(f"[ ! -d {was_at} ] || mv -n {was_at}/*.log {live}/")
    lines += [f"cp -a {q(str(kept / part))}/. {root}/" for part in ("config", "secrets") if (kept / part).is_dir()]
    return [*lines, manager.by_hand("start") if found["running"] else "true   # it was stopped when it was found"]


def environment_by_hand(context: Context, found: environment.Live) -> list[str]:
    live = shlex.quote(str(context.manifest.live_environment))
    aside = safety.as_found(context) / "environment"
    if found.kind == "link":
        return [f"ln -sfn {shlex.quote(found.target)} {live}"]
    if found.kind == "directory" and not aside.exists():
        return []  # it was never set aside
    return [f"rm -f {live}", *([f"mv {shlex.quote(str(aside))} {live}"] if found.kind == "directory" else [])]


SWITCH = Step("switch", "Switch: stop, put in place, start", apply, undo=undo, by_hand=by_hand, outage=True)
