"""Adopt: a backup that somebody made by hand, by the guide's "Pre-Deployment Backup", becomes a restore point.

The guide leaves in the checkout a tag backup-YYYYMMDD-HHMMSS and, beside each configuration file, a copy <name>.backup;
at the top requirements.backup.txt, artifacts-backup-YYYYMMDD.tar.gz and DEPLOYED_VERSION.txt. The next backup writes
over all but the tag, and over the archive on the same day: each file is taken for the one backup that it can be of, and
what is left is said to be lacking. The originals stay as they are: the restore point has a tag and copies of its own.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from rollbacks.procedures import artifacts, backup
from rollbacks.procedures.backup import FREEZE
from rollbacks.procedures.base import CannotPlan, Context, Facts, Plan, Procedure, Request, Step, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.tools import archive, blob, files, git, guard
from rollbacks.tools.manifest import Manifest

VERSION = "DEPLOYED_VERSION.txt"
SUFFIX = "-by-hand"
NAME = re.compile(r"backup-[A-Za-z0-9][A-Za-z0-9._-]{0,49}")  # with the suffix still a tag and a directory's name
OWN = re.compile(rf"(.+){SUFFIX}(-\d+)?")
DAY = re.compile(r"backup-(\d{8})(?!\d)")


@dataclass(frozen=True)
class HandMade:
    """A tag of the guide's, and which of the files that lie there are of that backup."""

    tag: str
    commit: str
    at: datetime
    until: float  # when its DEPLOYED_VERSION.txt was written; 0 when that is of another one
    archive: str  # the name of its artifacts' archive; "" when there is none

    def has(self, path: Path) -> bool:
        """Was the file written by this backup? The guide tags first, and writes DEPLOYED_VERSION.txt last."""
        return is_since(path, self.at) and path.stat().st_mtime <= self.until

    def has_freeze(self, path: Path) -> bool:
        """An empty one is what is left where pip was not found."""
        return self.has(path) and path.stat().st_size > 0


def original(tag: str) -> str:
    """The guide's tag that the restore point of this tag was made from."""
    found = OWN.fullmatch(tag)
    return found[1] if found else tag


def name_for(tag: str, number: int = 1) -> str:
    """The tag of the restore point: its own, so that the guide's can stay when it goes."""
    return f"{tag}{SUFFIX}" if number == 1 else f"{tag}{SUFFIX}-{number}"


# --- what lies there ------------------------------------------------------------------------------------------------


def hand_made(manifest: Manifest) -> list[HandMade]:
    """All of the guide's backups, the newest first; those that were taken over too: their files are nobody else's."""
    root, ours = manifest.root, git.own_tags(manifest.root)
    tags = [each for each in git.tags(root, "backup-*") if NAME.fullmatch(each[0]) and each[0] not in ours]
    version = files.inside(root, VERSION)
    deployed = version.read_text(errors="replace").strip() if version.is_file() else ""
    last = next((tag for tag, commit, at in tags if commit == deployed and is_since(version, at)), "")
    until = version.stat().st_mtime if last else 0.0
    since = [(archive_of(tag), tag) for tag, _, at in tags if is_since(files.inside(root, archive_of(tag)), at)]
    archives = {tag: name for name, tag in dict(reversed(since)).items()}  # each is of the newest one before it
    return [HandMade(tag, commit, at, until if tag == last else 0.0, archives.get(tag, "")) for tag, commit, at in tags]


def archive_of(tag: str) -> str:
    """The guide names it by the day alone."""
    day = DAY.match(tag)
    return f"artifacts-backup-{day[1] if day else 'YYYYMMDD'}.tar.gz"


def is_since(path: Path, at: datetime) -> bool:
    return path.is_file() and path.stat().st_mtime >= at.timestamp()


def offered(manifest: Manifest, most: int) -> list[Facts]:
    """What could be taken over, with what each lacks as far as a look can tell. Reads no file to its end."""
    kept = {path.name for path in manifest.backups.iterdir()} if manifest.backups.is_dir() else set()
    taken = {original(name) for name in kept if OWN.fullmatch(name)}
    left = (each for each in hand_made(manifest) if each.tag not in taken)
    return [
        {"tag": each.tag, "commit": each.commit, "at": each.at.isoformat(), "lacks": lacks(manifest, each)}
        for each in islice(left, most)
    ]


def lacks(manifest: Manifest, made: HandMade) -> list[str]:
    """What it does not hold of the system, each with the reason."""
    missing = [
        f"configuration: {no_file(manifest, f'{name}.backup')}, and {committed(manifest, made, name)}"
        for name in manifest.config
        if not made.has(backup_of(manifest, name))
    ]
    if manifest.secrets:
        missing.append(f"secrets: {', '.join(manifest.secrets)} (the guide keeps none)")
    if not made.has_freeze(files.inside(manifest.root, FREEZE)):
        missing.append(f"packages: {no_file(manifest, FREEZE)}")
    if manifest.artifacts and not made.archive:
        missing.append(f"artifacts: {no_file(manifest, archive_of(made.tag))}")
    return missing


def no_file(manifest: Manifest, name: str) -> str:
    path = manifest.root / name
    if not path.is_file():
        return f"there is no {name}"
    return f"{name} is not of this backup" if path.stat().st_size else f"{name} is empty"


def committed(manifest: Manifest, made: HandMade, name: str) -> str:
    known = is_committed(manifest.root, made.commit, name)
    return f"{name} is as the commit has it" if known else f"the commit does not have {name}"


@lru_cache(maxsize=4096)
def is_committed(root: Path, commit: str, name: str) -> bool:
    """Kept: what a commit holds never changes, and a worker looks at its systems every few seconds."""
    return blob.content(root, commit, name) is not None


def backup_of(manifest: Manifest, name: str) -> Path:
    return files.inside(manifest.root, f"{name}.backup")


# --- the steps ------------------------------------------------------------------------------------------------------


def tag_commit(context: Context) -> Facts:
    tag, theirs = context.goal["tag"], original(context.goal["tag"])
    commit = git.tagged(context.root, theirs)
    if not commit:
        raise StepFailed(gone(context.manifest, theirs))
    git.tag(context.root, tag, commit, context.goal["message"])
    context.say(f"{tag} → {commit[:10]}, as {theirs}, which stays\n")
    return {"commit": commit}


def gone(manifest: Manifest, tag: str) -> str:
    return f"There is no tag {tag} in {manifest.root} that was made by hand. Nothing was changed. Choose another one."


def gather(context: Context) -> Facts:
    """Copies of what lies there. A part that is not whole is not kept, and is said to be lacking."""
    manifest, theirs = context.manifest, original(context.goal["tag"])
    made = next((each for each in hand_made(manifest) if each.tag == theirs), None)
    if made is None:
        raise StepFailed(gone(manifest, theirs))
    files.remove(backup.part(manifest, context.goal["tag"]))  # of one who was killed
    into, missing = backup.fresh_part(context), lacks(manifest, made)
    for name in manifest.config:
        take_config(context, made, name, into)
    if made.has_freeze(freeze := files.inside(manifest.root, FREEZE)):
        files.copy(freeze, into / FREEZE)
        context.say(f"{FREEZE}\n")
    if made.archive:
        missing += take_archive(context, files.inside(manifest.root, made.archive), into)
    context.say("".join(f"lacks {each}\n" for each in missing))
    return {"lacks": missing}


def take_config(context: Context, made: HandMade, name: str, into: Path) -> None:
    """The copy beside it, or (when there is none of that backup) what the commit says."""
    copy, target = backup_of(context.manifest, name), files.inside(into / "config", name)
    committed = blob.content(context.root, made.commit, name)
    files.make_folder(target.parent)
    if made.has(copy):
        files.copy(copy, target)
        context.say(f"{name}, from {copy.name}\n")
    elif committed is not None:
        live = files.inside(context.root, name)  # it may hold keys
        files.write(target, committed, live.stat().st_mode & 0o777 if live.is_file() else None)
        context.say(f"{name}, from the commit {made.commit[:10]}\n")


def take_archive(context: Context, source: Path, into: Path) -> list[str]:
    """Returns what it lacks. It may be large: it is copied piece by piece, and on disk before the seal."""
    guard.ask()
    kept = into / artifacts.ARCHIVE
    shutil.copyfile(source, kept)
    kept.chmod(0o600)
    try:
        archive.check(kept)
        held = artifacts.held(context.manifest, into)
    except archive.ArchiveError as error:
        context.say(f"{error}\n")
        files.remove(kept)
        return [f"artifacts: {source.name} is not whole, or not safe to unpack"]
    context.say(f"{source.name}, read to its end\n")
    if not held:
        files.remove(kept)
    left_out = [name for name in context.manifest.artifacts if name not in held]
    return [f"artifacts: {', '.join(left_out)} is not in {source.name}"] if left_out else []


def seal(context: Context) -> Facts:
    manifest, tag, commit = context.manifest, context.goal["tag"], context.facts["tag"]["commit"]
    into = backup.part(manifest, tag)
    if not backup.place(manifest, tag).exists():
        backup.describe(manifest, tag, commit, into)
    about = {"hand_made": original(tag), "lacks": context.facts["gather"]["lacks"]}
    sealed = backup.seal(manifest, tag, commit, into, about)
    context.say(f"{backup.place(manifest, tag)}: {sealed['size']} bytes\n")
    return {"restore_point": sealed}


def read_back(context: Context) -> Facts:
    return backup.check_sealed(context)


def plan(manifest: Manifest, request: Request) -> Plan:
    """Only a name, as a backup's: `request.target` is the restore point's tag. Raises CannotPlan."""
    made = backup.plan(manifest, request)
    if not git.tagged(manifest.root, original(request.target)):
        raise CannotPlan(gone(manifest, original(request.target)))
    return Plan({**made.essence, "steps": [step.name for step in PROCEDURE.steps]}, {})


PROCEDURE = Procedure(
    "adopt",
    "Taking a backup over",
    (
        PREFLIGHT,
        Step("tag", "Tag the commit of the backup", tag_commit, undo=backup.untag),
        Step("history", "Keep the history beside the restore points", backup.keep_history, undo=backup.forget_history),
        Step("gather", "Copy what lies there of it", gather, undo=backup.drop_part),
        Step("seal", "Write restore.sh, hash everything", seal),
        Step("verify", "Read it back", read_back),
    ),
    plan,
)
