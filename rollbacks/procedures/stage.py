"""Staging: lay everything out beside the live tree and try it there, while the service still runs.

Under <root>/.rollback/: stage/<run>/tree (a git worktree of what will run), stage/<run>/files (configuration and
secrets as they will be), stage/<run>/artifacts, environments/<lock hash> (virtual environments, kept).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from rollbacks.procedures import artifacts, backup
from rollbacks.procedures.base import Context, Facts, Point, Step, StepFailed
from rollbacks.tools import blob, command, environment, files, git, store, syntax
from rollbacks.tools.manifest import Manifest

COMMAND_SECONDS = 900.0  # a test command that hangs is ended after this


def tree(context: Context) -> Path:
    return context.stage / "tree"


def kept_environment(manifest: Manifest, lock: str) -> Path:
    """Where the environment of this lock is kept, or has to be built."""
    return environment.place_for(manifest.state_dir / "environments", lock, manifest.live_environment)


# --- the code -------------------------------------------------------------------------------------------------------


def lay_out_tree(context: Context) -> Facts:
    """The code that will run: the target's, or (where a procedure leaves the code alone) all of it as it was found,
    uncommitted changes included."""
    commit = staged_commit(context)
    git.add_worktree(context.root, tree(context), commit)
    context.say(f"{commit[:10]} laid out beside the live tree\n")
    lay_out_files(context)
    files.sync(context.stage)  # who goes on after a power cut finds it as it was laid out
    return {"commit": commit}


def staged_commit(context: Context) -> str:
    return str(context.goal["commit"] or context.facts["safety"]["snapshot"])


def lay_out_files(context: Context) -> None:
    """Configuration and secrets as they will be, into the staged tree; those that change also for the switch."""
    manifest, goal = context.manifest, context.goal
    for name in (*manifest.config, *manifest.secrets):
        moved = name in goal["config"] or name in goal["secrets"]
        source = "point" if name in goal["secrets"] else goal["config"].get(name, "live")
        content = wanted_file(manifest, name, source, goal["commit"] or goal["source"], point_of(goal))
        if moved and (files.digest(content) if content is not None else None) != goal["wanted"].get(name):
            raise StepFailed(f"{name} is no longer what was approved. Nothing was switched; ask again.")
        if content is None:
            continue
        for folder in (tree(context), *([files_dir(context)] if moved else [])):
            target = files.inside(folder, name)
            files.make_folder(target.parent)
            files.write(target, content, mode_of(context, name))


def files_dir(context: Context) -> Path:
    return context.stage / "files"


def mode_of(context: Context, name: str) -> int | None:
    """A file keeps the mode that it has on the host, or had in the restore point: it may hold keys."""
    places = [files.inside(context.root, name)]
    if point := point_of(context.goal):
        places.append(backup.file_of(context.manifest, point, name))
    return next((path.stat().st_mode & 0o7777 for path in places if path.is_file()), None)


def staged_files(context: Context) -> dict[str, str]:
    """{path: where it is staged} of the configuration and secrets that change."""
    names = (*context.goal["config"], *context.goal["secrets"])
    return kept_files(names, files_dir(context))


def kept_files(names: Iterable[str], folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in names if (folder / name).is_file()}


def target_commit(context: Context) -> str:
    """Where HEAD will be: the procedure's commit, the one that restores a component, or where it was found."""
    component: str = context.facts.get("component", {}).get("commit", "")
    return str(context.goal["commit"] or component or context.facts["safety"]["commit"])


def point_of(goal: Facts) -> Point | None:
    return Point(**goal["point"]) if goal["point"] else None


def wanted_file(manifest: Manifest, name: str, source: str, commit: str, point: Point | None) -> bytes | None:
    """A file's content after the switch: from the "point", as it is "live", or from the "commit"; None: not there."""
    if source == "point" and point is not None:
        return backup.kept_file(manifest, point, name)
    if source == "live":
        path = files.inside(manifest.root, name)
        return path.read_bytes() if path.is_file() else None
    return blob.content(manifest.root, commit, name)


def check_config(name: str, content: bytes) -> str:
    """ "" or what is wrong with a configuration file of a format that can be told by its name."""
    try:
        syntax.parse(name, content)
    except syntax.NotValid as error:
        return f"{name} would not be valid: {error}"
    return ""


def check_tree(context: Context) -> None:
    if git.head(tree(context)).commit != staged_commit(context):
        raise StepFailed(f"{tree(context)} is not at {staged_commit(context)[:10]}")


def drop_stage(context: Context) -> None:
    git.remove_worktree(context.root, tree(context))
    for volume in staged_volumes(context):
        store.discard(volume)
        files.sync(volume.parent)
    files.remove(context.stage)
    files.sync(context.state_dir)  # after a power cut nobody would come again to take it away


# --- the environment ------------------------------------------------------------------------------------------------


def keep_environment(context: Context) -> Facts:
    goal, lock = context.goal, context.goal["lock"]
    if not lock:
        context.say("the release names no requirements: the environment stays as it is\n")
        return {}
    target = kept_environment(context.manifest, lock)
    requirements = requirements_of(context.manifest, goal["commit"] or goal["source"], point_of(goal))
    if lock_for(context.manifest, requirements, point_of(goal)) != lock:
        raise StepFailed("The requirements are no longer what was approved. Nothing was switched; ask again.")
    if environment.is_kept(target):
        context.say(f"environment {target.name} is kept already\n")
        return {"kept": True, "at": str(target)}
    context.say(f"building environment {target.name}\n")
    environment.build(
        target,
        requirements,
        python=python_for(context.manifest, point_of(goal)),
        cwd=tree(context),
        say=context.say,
        stopped=context.stopped,
        groups=context.groups,
        strict=goal["point"] is None,
    )
    return {"kept": False, "at": str(target)}


def requirements_of(manifest: Manifest, commit: str, point: Point | None) -> str:
    """What has to be installed: the restore point's freeze (exactly what ran then), else the commit's requirements."""
    if point is not None and (frozen := backup.kept_freeze(manifest, point)).strip():
        return frozen
    where = backup.mirror(manifest) if backup.is_empty(manifest.root) else manifest.root

    def read(path: str) -> str | None:
        content = blob.content(where, commit, path) if where.is_dir() else None
        return content.decode() if content is not None else None

    return environment.whole(
        read(manifest.requirements) or "", manifest.requirements, read, lambda path: git.named(where, commit, path)
    )


def lock_for(manifest: Manifest, requirements: str, point: Point | None = None) -> str:
    """The name of the environment that these requirements need; "" when they name nothing."""
    if not requirements.strip():
        return ""
    return environment.lock_hash(requirements, environment.python_version(python_for(manifest, point)))


def python_for(manifest: Manifest, point: Point | None) -> Path:
    """The interpreter of the live environment; where there is none, that of the restore point's release."""
    if point is None or manifest.live_environment.exists():
        return environment.base_python(manifest.live_environment)
    return environment.find_python(backup.described(manifest, point.tag)["python"])


def check_environment(context: Context) -> None:
    lock = context.goal["lock"]
    if lock and not environment.is_kept(staged_environment(context)):
        raise StepFailed(f"environment {lock} is not whole")


def check_imports(context: Context) -> Facts:
    """Import the top-level packages of the staged environment. What cannot be imported there, and can be in the live
    one, would be the outage."""
    broken = environment.failing_imports(staged_environment(context), cwd=tree(context), groups=context.groups)
    known = environment.failing_imports(context.manifest.live_environment, cwd=tree(context), groups=context.groups)
    for name, why in broken.items():
        context.say(f"{name} cannot be imported: {why}{', nor in the live environment' if name in known else ''}\n")
    if worse := {name: why for name, why in broken.items() if name not in known}:
        raise StepFailed(
            f"{'; '.join(f'{name} cannot be imported ({why})' for name, why in worse.items())}. Nothing was switched; "
            "the service still runs as it did. Choose another target."
        )
    context.say("every package can be imported\n" if not broken else "")
    return {"broken": sorted(broken)}


def drop_unfinished(context: Context) -> None:
    """A whole environment is kept for the next time; half of one only takes room."""
    if lock := context.goal["lock"]:
        target = kept_environment(context.manifest, lock)
        if target.exists() and not (target / environment.MARKER).exists():
            shutil.rmtree(target)


# --- the artifacts --------------------------------------------------------------------------------------------------


def staged_artifacts(context: Context) -> Path:
    return context.stage / "artifacts"


def lay_out_artifacts(context: Context) -> Facts:
    """Unpack the restore point's artifacts beside the live ones; the switch only renames.

    Where the live one is a link out of the checkout (to a disk of its own), the state is laid out over there, and what
    is renamed into place is a link to it. What the old link leads to is not touched.
    """
    names, point = context.goal["artifacts"], point_of(context.goal)
    if not names or point is None:
        context.say("no artifacts to restore\n")
        return {}
    kept, volumes = backup.place(context.manifest, point.tag), volumes_for(context)
    artifacts.unpack(kept, staged_artifacts(context), [name for name in names if name not in volumes], context.say)
    for name, volume in volumes.items():
        link = staged_artifacts(context) / name
        files.make_folder(link.parent)
        link.symlink_to(volume / name)
    for volume in sorted(set(volumes.values())):
        artifacts.unpack(kept, volume, [name for name in names if volumes.get(name) == volume], context.say)
        volume.chmod(0o755)  # the service may be another user; each artifact in there has the mode that it had
        files.sync(volume)
    files.sync(staged_artifacts(context))
    context.say(f"{', '.join(names)} unpacked beside the live ones\n")
    return {"artifacts": names}


def volumes_for(context: Context) -> dict[str, Path]:
    """{artifact: directory to lay it out in}, of those that are links out of the checkout."""
    own = f"{context.manifest.name}-{context.safety_tag.replace('failed-', 'restored-')}"
    leads = {name: artifacts.leads_to(context.manifest, name) for name in context.goal["artifacts"]}
    return {name: parent / own for name, parent in leads.items() if parent is not None}


def staged_volumes(context: Context) -> list[Path]:
    """Those that no live link leads to: the staged link was not put in place."""
    links = {name: staged_artifacts(context) / name for name in context.goal["artifacts"]}
    return [link.readlink().parents[len(Path(name).parts) - 1] for name, link in links.items() if link.is_symlink()]


def check_artifacts(context: Context) -> None:
    missing = [name for name in context.goal["artifacts"] if not (staged_artifacts(context) / name).exists()]
    if missing:
        raise StepFailed(f"{', '.join(missing)} is not in {staged_artifacts(context)}.")


# --- one component --------------------------------------------------------------------------------------------------


def lay_out_component(context: Context) -> Facts:
    """The component's paths into the staged tree, and the commit that the switch will put in place."""
    goal, safety = context.goal, context.facts["safety"]
    git.put_paths(tree(context), goal["source"], goal["paths"])
    words = goal["message"]
    made = git.commit_paths(context.root, safety["commit"], goal["source"], goal["paths"], words)
    context.say(f"{', '.join(goal['paths'])} from {goal['source'][:10]}; commit {made[:10]}: {words}\n")
    return {"commit": made}


# --- the system's own word ------------------------------------------------------------------------------------------


def staged_environment(context: Context) -> Path:
    """The one that was staged, also when somebody installs into it afterwards; without a lock the live one."""
    lock = context.goal["lock"]
    if not lock:
        return context.manifest.live_environment
    at = context.facts.get("environment", {}).get("at")
    return Path(at) if at else context.state_dir / "environments" / lock


def validate(context: Context) -> Facts:
    """Parse the staged configuration, and let the system's own validate_config look at it."""
    for name in context.goal["config"]:
        path = files.inside(tree(context), name)
        if path.is_file() and (wrong := check_config(name, path.read_bytes())):
            raise StepFailed(f"{wrong}. Nothing was switched; the service still runs as it did.")
    return {"seconds": run_named(context, "validate_config")}


def try_it(context: Context) -> Facts:
    """Run the system's validate_config and test commands on what was staged. If they fail nothing is switched."""
    seconds = {**validate(context)["seconds"], **run_named(context, "test")}
    if not seconds:
        context.say("the manifest names no test command: nothing to try\n")
    return {"seconds": seconds}


def try_component(context: Context) -> Facts:
    """Run the component's own test on the staged tree (and not the whole suite, as the guide does)."""
    seconds = run_named(context, "component_test", component=context.goal["component"])
    if not seconds:
        context.say("the manifest names no component_test: nothing to try\n")
    return {"seconds": seconds}


def run_named(context: Context, name: str, **values: str) -> dict[str, float]:
    """Run a command of the manifest in the staged tree; {name: seconds}, or {} when the manifest has none."""
    words = context.manifest.commands.get(name, "")
    for key, value in values.items():
        words = words.replace(f"{{{key}}}", value)
    if not words:
        return {}
    context.say(f"$ {words}\n")
    return {name: run_owner(context, words, tree(context), staged_environment(context))}


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
IMPORTS = Step("imports", "Import every package of the staged environment", check_imports)
ARTIFACTS = Step("artifacts", "Stage the artifacts", lay_out_artifacts, verify=check_artifacts, undo=drop_stage)
COMPONENT = Step("component", "Stage the component", lay_out_component)
VALIDATE = Step("validate", "Validate the configuration on what is staged", validate)
TRY = Step("try", "Run the system's own tests on what is staged", try_it)
TRY_COMPONENT = Step("try", "Run the component's own test on what is staged", try_component)
