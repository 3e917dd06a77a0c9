"""The safety point: a backup of the state as found, uncommitted changes included. It is evidence, and the way back."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

from rollbacks.procedures import backup, journal
from rollbacks.procedures.base import Context, Facts, Point, Step, StepFailed
from rollbacks.tools import environment, files, git, probe, service


def as_found(context: Context) -> Path:
    """Where what a tag cannot hold is kept for the undo: the index, and the configuration files. Named by the tag: a
    portal with a new database gives the number of a run again, and must not take an old state for the one it found."""
    return context.state_dir / "found" / context.safety_tag


def apply(context: Context) -> Facts:
    """Facts: commit, branch, snapshot, tree, environment, config {path: sha256}, running, pid, healthy, logs,
    log_inodes, artifacts, restore_point."""
    manifest, tag = context.manifest, context.safety_tag
    if (as_found(context) / "facts.json").exists():  # what was found is written down once: later it is something else
        return journal.read(as_found(context) / "facts.json")
    head = git.head(manifest.root)
    kept = as_found(context)
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write(kept / "index", git.read_index(manifest.root), 0o600)
    backup.copy_files(manifest, kept)
    snapshot = git.snapshot(
        manifest.root,
        tag,
        f"State as found by rollback run {context.run}",
        target=context.goal["commit"] or (context.goal["source"] if context.goal["paths"] else ""),
        leaving=manifest.unwatched,
        hidden=(manifest.environment_dir, manifest.state_dir.name),
    )
    context.say(f"{tag} → {snapshot[:10]}\n")
    point = None if context.goal["anew"] else keep_point(context, snapshot)
    live = environment.current(manifest.live_environment)
    status = service.for_service(manifest.service).status()
    logs = log_sizes(context)
    facts = {
        "commit": head.commit,
        "branch": head.branch,
        "snapshot": snapshot,
        "tree": git.tree_state(manifest.root, manifest.unwatched, at=head),
        "environment": {"kind": live.kind, "target": live.target},
        "config": config_hashes(context),
        "running": status.running,
        "pid": status.pid,
        "healthy": bool(manifest.health_url) and probe.health(manifest.health_url).ok,
        "logs": logs,
        "log_inodes": {path: (context.root / path).stat().st_ino for path in logs},
        "artifacts": {name: identity(context.root / name) for name in manifest.artifacts},
        **({"restore_point": point} if point else {}),
    }
    journal.write(kept / "facts.json", facts)
    return facts


def keep_point(context: Context, snapshot: str) -> Facts:
    """A restore point of what was found: evidence, for the catalogue."""
    manifest, tag = context.manifest, context.safety_tag
    into = backup.part(manifest, tag)
    if not backup.place(manifest, tag).exists():  # else one who was killed had it whole
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        backup.copy_files(manifest, into)
        backup.write_description(manifest, tag, snapshot, into)
    return backup.seal(manifest, tag, snapshot, into)


def identity(path: Path) -> list[Any]:
    """What stays the same of a file, a link or a directory however often it is renamed; [] when it is not there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return []
    return [stat.filemode(status.st_mode)[0], status.st_ino, os.readlink(path) if path.is_symlink() else ""]


def log_sizes(context: Context) -> dict[str, int]:
    """Bytes by path: what is written after them is new."""
    return {str(path.relative_to(context.root)): files.file_bytes(path) for path in log_files(context)}


def log_files(context: Context) -> list[Path]:
    folders = [files.inside(context.root, name) for name in context.manifest.logs]
    return [path for folder in folders for path in sorted(folder.glob("*.log"))]


def config_hashes(context: Context) -> dict[str, str]:
    """sha256 by path, "" for a file that is not there."""
    hashes = {}
    for name in (*context.manifest.config, *context.manifest.secrets):
        path = files.inside(context.root, name)
        hashes[name] = files.sha256(path) if path.is_file() else ""
    return hashes


def verify(context: Context) -> None:
    point = context.facts["safety"].get("restore_point")
    if point is None:
        context.say("nothing stood here: there is nothing to keep\n")
        return
    wrong = backup.check(context.manifest, Point(point["tag"], point["commit"], point["manifest_sha256"]))
    if wrong:
        raise StepFailed("The safety point cannot be trusted, so nothing is changed: " + "; ".join(wrong))


def undo(context: Context) -> None:
    """A safety point that is whole stays, as evidence; half of one is only in the way. What was set aside stays."""
    manifest, tag = context.manifest, context.safety_tag
    if backup.place(manifest, tag).exists():
        return
    kept = as_found(context)
    for name in ("facts.json", "index", "config", "secrets"):
        files.remove(kept / name)
    if kept.is_dir() and not any(kept.iterdir()):
        kept.rmdir()
    if backup.part(manifest, tag).exists():
        shutil.rmtree(backup.part(manifest, tag))
    git.delete_tag(manifest.root, tag)
    backup.sync(manifest)


SAFETY = Step("safety", "Safety point: keep the state as found", apply, verify=verify, undo=undo)
