"""The artifacts of a restore point: a kept tree (tools/store.py); of older ones, and of those made by hand, an archive.

`kept` is always the restore point's directory. Where a rollback puts what it unpacks: stage.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rollbacks.procedures.base import CannotPlan, Facts
from rollbacks.tools import archive, files, listing, store
from rollbacks.tools.manifest import Manifest

KEPT = "artifacts"
ARCHIVE = "artifacts.tar.gz"
LISTING = f"{KEPT}/{listing.NAME}"
OBJECTS = f"{KEPT}/{listing.OBJECTS}/"


# --- keeping --------------------------------------------------------------------------------------------------------


def keep(manifest: Manifest, into: Path, previous: Path | None, say: Callable[[str], None]) -> Facts:
    """Keep what the manifest names; what has not changed since the restore point `previous` is shared with it."""
    names = [name for name in manifest.artifacts if (manifest.root / name).exists()]
    if not names:
        say("no artifacts\n")
        return {}
    older = previous / KEPT if previous is not None and (previous / LISTING).is_file() else None
    kept = store.keep(manifest.root, names, into / KEPT, previous=older, say=say)
    shared = f"; the rest is shared with {previous.name}" if previous is not None and older is not None else ""
    say(
        f"{', '.join(names)}: {kept.files} files, {kept.bytes} bytes; "
        f"{kept.read} were read, {kept.new_bytes} bytes are new on the disk{shared}\n"
    )
    return {"files": kept.files, "bytes": kept.bytes, "read": kept.read, "new_bytes": kept.new_bytes}


def size(kept: Path) -> store.Size:
    """What the kept tree takes on the disk: in all, and what nobody shares with it."""
    return store.size(kept / KEPT) if (kept / LISTING).is_file() else store.Size(0, 0)


def check(kept: Path, members: Iterable[str], *, deep: bool, trusted: Path | None) -> list[str]:
    """What is wrong with the artifacts of a restore point, in words. The listing's own hash was compared before.

    Not deep: every object is there and as long as it should be. That takes no second during an incident; the rest is
    noticed when it is unpacked, which is before the outage too.
    """
    if LISTING in members:
        return store.check(kept / KEPT, deep=deep, trusted=trusted / KEPT if trusted is not None else None)
    if ARCHIVE in members and deep:
        try:
            archive.check(kept / ARCHIVE)
        except archive.ArchiveError as error:
            return [str(error)]
    return []


# --- what a restore point holds -------------------------------------------------------------------------------------


def held(manifest: Manifest, kept: Path) -> dict[str, int]:
    """The manifest's artifacts that the restore point holds, and their bytes. Raises ToolError for one that would lead
    out when it is unpacked."""
    paths = sizes(kept)
    under = {name: [path for path in paths if store.is_under(path, [name])] for name in manifest.artifacts}
    return {name: sum(paths[path] for path in found) for name, found in under.items() if found}


def sizes(kept: Path) -> dict[str, int]:
    """Bytes by path, directories and links too."""
    if (kept / LISTING).is_file():
        return store.sizes(kept / KEPT)
    return archive.sizes(kept / ARCHIVE) if (kept / ARCHIVE).is_file() else {}


def unpack(kept: Path, target: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Make the directory `target` of these artifacts, on disk as a whole when this returns."""
    if (kept / LISTING).is_file():
        store.unpack(kept / KEPT, target, names=names, say=say)
    else:
        archive.unpack(kept / ARCHIVE, target, names=names)


# --- where they stand -----------------------------------------------------------------------------------------------


def changes(manifest: Manifest, then: dict[str, int]) -> list[Facts]:
    """[{"name", "now", "then", "beside"}] in bytes (now 0: not there). Raises CannotPlan where it could not be done."""
    return [
        {
            "name": name,
            "now": files.tree_bytes((manifest.root / name).resolve()),
            "then": size,
            "beside": str(leads_to(manifest, name) or ""),
        }
        for name, size in then.items()
    ]


def leads_to(manifest: Manifest, name: str) -> Path | None:
    """For a link out of the checkout: the directory in which a restored state is laid out, beside what it leads to.
    None for what stands in the checkout. Raises CannotPlan where nothing can be renamed into place."""
    live, root = files.inside(manifest.root, name), manifest.root.resolve()
    real = live.resolve()
    out = live.is_symlink() and not real.is_relative_to(root) and real.parent.is_dir()
    if os.path.ismount(real) or (not out and elsewhere(live, manifest.root)):
        raise CannotPlan(
            f"{live} is another file system{f' ({real})' if real != live else ''}, and nothing can be renamed into its "
            f"place. Nothing was changed. Make {name} a link to a directory inside that file system, and ask again; or "
            "unpack the restore point by hand."
        )
    if out and not os.access(real.parent, os.W_OK | os.X_OK):
        raise CannotPlan(
            f"{live} leads to {real}, and the worker may not write beside it. Nothing was changed. Give it the right "
            f"to write to {real.parent}, and ask again."
        )
    return real.parent if out else None


def elsewhere(live: Path, root: Path) -> bool:
    """Does it stand on another file system than the checkout's own directory?"""
    return root.is_dir() and live.parent.is_dir() and live.parent.stat().st_dev != root.stat().st_dev
