"""Staging: lay everything out beside the live tree and try it there, while the service still runs.

Under <root>/.rollback/: stage/<run>/tree (a git worktree of the target), stage/<run>/config (the configuration as it
will be), environments/<lock hash> (virtual environments, kept).
"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

from rollbacks.procedures import backup
from rollbacks.procedures.base import Context, Facts, Point, Step, StepFailed
from rollbacks.tools import command, environment, files, git
from rollbacks.tools.manifest import Manifest

COMMAND_SECONDS = 900.0  # a test command that hangs is ended after this


def tree(context: Context) -> Path:
    return context.stage / "tree"


def kept_environment(manifest: Manifest, lock: str) -> Path:
    return manifest.state_dir / "environments" / lock


# --- the code -------------------------------------------------------------------------------------------------------


def lay_out_tree(context: Context) -> Facts:
    commit = context.goal["commit"]
    git.add_worktree(context.root, tree(context), commit)
    context.say(f"{commit[:10]} laid out beside the live tree\n")
    lay_out_config(context)
    files.sync(context.stage)  # who goes on after a power cut finds it as it was laid out
    return {"commit": commit}


def lay_out_config(context: Context) -> None:
    """The configuration as it will be, into the stage and into the staged tree; secrets as they are."""
    for name, source in context.goal["config"].items():
        content = wanted_config(context.manifest, name, source, context.goal["commit"], point_of(context.goal))
        if files.digest(content or b"") != context.goal["wanted"][name]:
            raise StepFailed(f"{name} is no longer what was approved. Nothing was switched; ask again.")
        if content is None:
            continue
        for folder in (context.stage / "config", tree(context)):
            target = files.inside(folder, name)
            files.make_folder(target.parent)
            files.write(target, content, config_mode(context, name))
    for name in context.manifest.secrets:
        live, target = files.inside(context.root, name), files.inside(tree(context), name)
        if live.is_file():
            files.make_folder(target.parent)
            files.copy(live, target)


def config_mode(context: Context, name: str) -> int | None:
    """A configuration file keeps the mode that it has on the host, or had in the restore point: it may hold keys."""
    places = [files.inside(context.root, name)]
    if point := point_of(context.goal):
        places.append(files.inside(backup.place(context.manifest, point.tag) / "config", name))
    return next((path.stat().st_mode & 0o7777 for path in places if path.is_file()), None)


def point_of(goal: Facts) -> Point | None:
    return Point(**goal["point"]) if goal["point"] else None


def wanted_config(manifest: Manifest, name: str, source: str, commit: str, point: Point | None) -> bytes | None:
    """A configuration file's content after the switch: from the "point", as it is "live", or from the "commit"."""
    if source == "point" and point is not None:
        path = files.inside(backup.place(manifest, point.tag) / "config", name)
        return path.read_bytes() if path.is_file() else None
    if source == "live":
        path = files.inside(manifest.root, name)
        return path.read_bytes() if path.is_file() else None
    return git.show(manifest.root, commit, name)


def check_config(name: str, content: bytes) -> str:
    """ "" or what is wrong with a configuration file of a format that can be told by its name."""
    try:
        if name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".toml"):
            tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        return f"{name} would not be valid: {error}"
    return ""


def check_tree(context: Context) -> None:
    if git.head(tree(context)).commit != context.goal["commit"]:
        raise StepFailed(f"{tree(context)} is not at {context.goal['commit'][:10]}")


def drop_stage(context: Context) -> None:
    git.remove_worktree(context.root, tree(context))
    if context.stage.exists():
        shutil.rmtree(context.stage)


# --- the environment ------------------------------------------------------------------------------------------------


def keep_environment(context: Context) -> Facts:
    lock = context.goal["lock"]
    if not lock:
        context.say("the release names no requirements: the environment stays as it is\n")
        return {}
    target = kept_environment(context.manifest, lock)
    requirements = requirements_of(context.manifest, context.goal["commit"], point_of(context.goal))
    if lock_for(context.manifest, requirements) != lock:
        raise StepFailed("The requirements are no longer what was approved. Nothing was switched; ask again.")
    if environment.is_kept(target):
        context.say(f"environment {lock} is kept already\n")
        return {"kept": True}
    context.say(f"building environment {lock}\n")
    environment.build(
        target,
        requirements,
        python=environment.base_python(context.manifest.live_environment),
        cwd=tree(context),
        say=context.say,
        stopped=context.stopped,
        groups=context.groups,
        strict=context.goal["point"] is None,
    )
    return {"kept": False}


def requirements_of(manifest: Manifest, commit: str, point: Point | None) -> str:
    """What has to be installed: the restore point's freeze (exactly what ran then), else the commit's requirements."""
    if point is not None:
        frozen = (backup.place(manifest, point.tag) / "requirements.backup.txt").read_text()
        if frozen.strip():
            return frozen
    content = git.show(manifest.root, commit, manifest.requirements)
    return content.decode() if content is not None else ""


def lock_for(manifest: Manifest, requirements: str) -> str:
    if not requirements.strip():
        return ""
    python = environment.base_python(manifest.live_environment)
    return environment.lock_hash(requirements, environment.python_version(python))


def check_environment(context: Context) -> None:
    lock = context.goal["lock"]
    if lock and not environment.is_kept(kept_environment(context.manifest, lock)):
        raise StepFailed(f"environment {lock} is not whole")


def drop_unfinished(context: Context) -> None:
    """A whole environment is kept for the next time; half of one only takes room."""
    if lock := context.goal["lock"]:
        target = kept_environment(context.manifest, lock)
        if target.exists() and not environment.is_kept(target):
            shutil.rmtree(target)


# --- the system's own word ------------------------------------------------------------------------------------------


def staged_environment(context: Context) -> Path:
    lock = context.goal["lock"]
    return kept_environment(context.manifest, lock) if lock else context.manifest.live_environment


def try_it(context: Context) -> Facts:
    """Run the system's validate_config and test commands on what was staged. If they fail nothing is switched."""
    for name in context.goal["config"]:
        path = files.inside(tree(context), name)
        if path.is_file() and (wrong := check_config(name, path.read_bytes())):
            raise StepFailed(f"{wrong}. Nothing was switched; the service still runs as it did.")
    seconds: Facts = {}
    for name in ("validate_config", "test"):
        if words := context.manifest.commands.get(name):
            context.say(f"$ {words}\n")
            seconds[name] = run_owner(context, words, tree(context), staged_environment(context))
    if not seconds:
        context.say("the manifest names no test command: nothing to try\n")
    return {"seconds": seconds}


def run_owner(context: Context, words: str, cwd: Path, venv: Path) -> float:
    """Run a command of the manifest; returns its seconds. Raises StepFailed in words."""
    try:
        result = command.run(
            command.owner(words),
            cwd=cwd,
            env=command.clean_environment(path_first=venv),
            timeout=COMMAND_SECONDS,
            say=context.say,
            stopped=context.stopped,
            groups=context.groups,
        )
    except command.CommandFailed as error:
        raise StepFailed(str(error)) from error
    return round(result.seconds, 3)


WORKTREE = Step("tree", "Stage the code", lay_out_tree, verify=check_tree, undo=drop_stage)
ENVIRONMENT = Step(
    "environment", "Stage the environment", keep_environment, verify=check_environment, undo=drop_unfinished
)
TRY = Step("try", "Run the system's own tests on what is staged", try_it)
