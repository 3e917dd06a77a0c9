"""Preflight: everything that can be known before anything is touched. No change is made if anything is missing."""

from __future__ import annotations

import shutil

from rollbacks.procedures.base import Context, Facts, Step, StepFailed
from rollbacks.tools import fence, files, git, service
from rollbacks.tools.manifest import Manifest

BY_HAND = ("/requirements.backup.txt", "/artifacts-backup-*.tar.gz", "/DEPLOYED_VERSION.txt")  # adopt.py
SPARE = 64 * 1024 * 1024  # bytes that must stay free on top of what is written


def hide_own(manifest: Manifest) -> None:
    """What the portal and Python put into a checkout is not the system's: a restart that writes bytecode must not void
    an approval. (".venv/" in a .gitignore would not match a link.) Nor is what people made by the guide: a switch takes
    away what git neither tracks nor ignores."""
    own = ("/.rollback/", f"/{manifest.environment_dir}", "__pycache__/")
    by_hand = (*BY_HAND, *(f"/{name}.backup" for name in manifest.config))
    git.exclude(manifest.root, *own, *by_hand)


def apply(context: Context) -> Facts:
    manifest = context.manifest
    if context.goal.get("anew"):
        manifest.root.mkdir(parents=True, exist_ok=True, mode=0o755)
    else:
        git.check_checkout(manifest.root)
        hide_own(manifest)
    fence.hold(context.state_dir, context.token, context.holder)
    if shutil.which("git") is None:
        raise StepFailed("git is not on the worker's PATH. Nothing was changed. Install git on this host.")
    needed = room_needed(context)
    manifest.backups.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in (manifest.root, manifest.backups):
        free = files.free_bytes(place)
        context.say(f"{place}: {free // 2**20} MiB free, {needed // 2**20} MiB needed\n")
        if free < needed:
            raise StepFailed(
                f"{place} has {free // 2**20} MiB free and {needed // 2**20} MiB are needed. "
                "Nothing was changed. Free some space (old restore points, logs), then ask again."
            )
    status = service.for_service(manifest.service).status()
    context.say(f"service: {status.detail}\n")
    return {"running": status.running, "pid": status.pid}


def room_needed(context: Context) -> int:
    """Bytes: the tracked files once more (the worktree), the artifacts once more for a backup, and a reserve."""
    tracked = files.tree_bytes(context.root / ".git")
    artifacts = sum(files.tree_bytes(context.root / each) for each in context.manifest.artifacts)
    return tracked + artifacts + SPARE


PREFLIGHT = Step("preflight", "Preflight: checks before anything is touched", apply)
