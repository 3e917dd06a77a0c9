"""Backup: the guide's section "Pre-Deployment Backup". Nothing live is changed.

A restore point is a directory <backups>/<tag>/ made beside and renamed into place once it is whole:

    config/, secrets/          the files that the manifest names, same relative paths
    requirements.backup.txt    what `pip freeze` says
    artifacts/                 the artifacts, sharing what has not changed with the point before (tools/store.py)
    DEPLOYED_VERSION.txt       the commit
    system.toml                the system's manifest
    restore.sh                 the way back without the portal
    manifest.json              {"format", "system", "tag", "commit", "python", "made_at", "files": {path: sha256}};
                               of the artifacts only the listing, which names each object by its hash

Format 1 had artifacts.tar.gz in place of artifacts/; so has what was made by hand. Both are read.

Besides, the annotated tag of the same name in the repository, pushed where there is a remote.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from rollbacks.procedures import artifacts, restore_script
from rollbacks.procedures.base import CannotPlan, Context, Facts, Plan, Point, Procedure, Request, Step, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.tools import environment, files, git
from rollbacks.tools.manifest import Manifest

FORMAT = 2
FREEZE = "requirements.backup.txt"


def place(manifest: Manifest, tag: str) -> Path:
    return files.inside(manifest.backups, tag)


def part(manifest: Manifest, tag: str) -> Path:
    """Where a restore point is while it is being made."""
    return files.inside(manifest.backups, f".{tag}.partial")


# --- the parts ------------------------------------------------------------------------------------------------------


def copy_files(manifest: Manifest, into: Path) -> list[str]:
    """Configuration and secrets, as they are on the host now; returns the relative paths copied."""
    copied = []
    for folder, names in (("config", manifest.config), ("secrets", manifest.secrets)):
        for name in names:
            source = files.inside(manifest.root, name)
            if source.is_file():
                target = files.inside(into / folder, name)
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                files.copy(source, target)
                copied.append(name)
    return copied


def write_description(manifest: Manifest, tag: str, commit: str, into: Path) -> None:
    """What describe() writes, and what is installed."""
    describe(manifest, tag, commit, into)
    files.write(into / FREEZE, environment.freeze(manifest.live_environment).encode())


def describe(manifest: Manifest, tag: str, commit: str, into: Path) -> None:
    """DEPLOYED_VERSION.txt, system.toml and restore.sh."""
    files.write(into / "DEPLOYED_VERSION.txt", f"{commit}\n".encode())
    files.write(into / "system.toml", manifest.text.encode())
    files.write(into / "restore.sh", restore_script.script(manifest, tag).encode(), 0o755)


def seal(manifest: Manifest, tag: str, commit: str, into: Path, about: Facts | None = None) -> Facts:
    """Hash every member, write manifest.json (with what else is to be said), and rename the whole into place.
    Idempotent."""
    final = place(manifest, tag)
    if not final.exists():
        for left in into.glob(".*"):  # what one who was killed was writing
            files.remove(left)
        described = {
            **(about or {}),
            "format": FORMAT,
            "system": manifest.name,
            "tag": tag,
            "commit": commit,
            "python": environment.python_version(environment.base_python(manifest.live_environment)),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "remote": git.without_password(git.remote(manifest.root)),
            "files": members_of(into),
        }
        files.write(into / "manifest.json", json.dumps(described, indent=1, sort_keys=True).encode())
        files.sync(into)
        files.sync(manifest.root)  # the tag and its commit: often another file system
        into.rename(final)
        files.sync(manifest.backups)
    return described_point(manifest, tag)


def sync(manifest: Manifest) -> None:
    """What was made or taken away in checkout and backups (often another file system) is so after a power cut too."""
    for each in (manifest.root, manifest.backups):
        if each.exists():
            files.sync(each)


def members_of(into: Path) -> dict[str, str]:
    """{path: sha256} of all that is to be trusted; an object's name is its hash already."""
    named = {str(path.relative_to(into)): path for path in sorted(into.rglob("*")) if path.is_file()}
    return {
        name: files.sha256(path)
        for name, path in named.items()
        if name != "manifest.json" and not name.startswith(artifacts.OBJECTS)
    }


def described_point(manifest: Manifest, tag: str) -> Facts:
    """What the catalogue keeps of a restore point."""
    final = place(manifest, tag)
    described = json.loads((final / "manifest.json").read_text())
    return {
        "tag": tag,
        "commit": described["commit"],
        "manifest_sha256": files.sha256(final / "manifest.json"),
        "size": files.tree_bytes(final),
        "parts": words_for(described["files"]),
        "lacks": described.get("lacks", []),
    }


def words_for(members: dict[str, str]) -> list[str]:
    config = [name.removeprefix("config/") for name in members if name.startswith("config/")]
    secrets = [name.removeprefix("secrets/") for name in members if name.startswith("secrets/")]
    freeze = ["pip freeze"] if FREEZE in members else []
    kept = ["artifacts"] if {artifacts.LISTING, artifacts.ARCHIVE} & set(members) else []
    return ["tag", *config, *secrets, *freeze, *kept]


def check(manifest: Manifest, point: Point, *, deep: bool = True, trusted: str = "") -> list[str]:
    """Read a restore point back; returns what is wrong with it, in words, [] when it is sound.

    deep: the content of every artifact too, save what it shares with the restore point `trusted`, which was read back
    before. Otherwise it is only looked for: during an incident every second counts (artifacts.check).
    """
    final = place(manifest, point.tag)
    listing = final / "manifest.json"
    if not listing.is_file():
        return [f"{listing} is missing"]
    if files.sha256(listing) != point.manifest_sha256:
        return [f"{listing} is not the one that was written when the restore point was made"]
    members: dict[str, str] = json.loads(listing.read_text())["files"]
    wrong = []
    for name, sha in members.items():
        path = final / name
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif files.sha256(path) != sha:
            wrong.append(f"{path} has changed since the restore point was made")
    for folder in ("config", "secrets"):  # what lies there is put into the system
        there = [path for path in sorted((final / folder).rglob("*")) if not path.is_dir()]
        added = [path for path in there if str(path.relative_to(final)) not in members]
        wrong += [f"{path} was added since the restore point was made" for path in added]
    if not wrong:
        older = place(manifest, trusted) if trusted else None
        wrong += artifacts.check(final, members, deep=deep, trusted=older)
    own = mirror(manifest)
    anew = is_empty(manifest.root)
    known = git.tagged(own if anew else manifest.root, point.tag)
    if known and known != point.commit:
        wrong.append(f"the tag {point.tag} names another commit than {point.commit[:10]}")
    elif not known and not anew:
        hint = f" ({own} has it: fetch it from there)" if git.tagged(own, point.tag) == point.commit else ""
        wrong.append(f"the tag {point.tag} is gone from the repository{hint}")
    elif not known and not described(manifest, point.tag).get("remote"):
        wrong.append(f"the tag {point.tag} is in no repository here")
    return wrong


# --- what a restore point holds -------------------------------------------------------------------------------------


def described(manifest: Manifest, tag: str) -> Facts:
    """manifest.json of a restore point; {} when there is none."""
    listing = place(manifest, tag) / "manifest.json"
    return dict(json.loads(listing.read_text())) if listing.is_file() else {}


def kept_file(manifest: Manifest, point: Point, name: str) -> bytes | None:
    """A configuration file or a secret of the restore point; None when it does not hold it."""
    path = file_of(manifest, point, name)
    return path.read_bytes() if path.is_file() else None


def file_of(manifest: Manifest, point: Point, name: str) -> Path:
    """Where the restore point keeps a configuration file or a secret."""
    folder = "secrets" if name in manifest.secrets else "config"
    return files.inside(place(manifest, point.tag) / folder, name)


def kept_freeze(manifest: Manifest, point: Point) -> str:
    """What `pip freeze` said then; "" when the restore point does not know."""
    path = place(manifest, point.tag) / FREEZE
    return path.read_text() if path.is_file() else ""


def holds_freeze(manifest: Manifest, point: Point) -> bool:
    return (place(manifest, point.tag) / FREEZE).is_file()


def lacking(manifest: Manifest, point: Point) -> list[str]:
    """What a restore point that was made by hand does not hold, in words."""
    return list(described(manifest, point.tag).get("lacks", []))


def repositories(manifest: Manifest, tag: str) -> list[str]:
    """Where the history of a restore point can be had, the nearest first: the backups' own repository, the remote."""
    own, remote = mirror(manifest), described(manifest, tag).get("remote", "")
    return [*([str(own)] if git.tagged(own, tag) else []), *([remote] if remote else [])]


def mirror(manifest: Manifest) -> Path:
    """A bare repository beside the restore points, which makes them whole without the checkout."""
    return manifest.backups / "repository.git"


def is_empty(root: Path) -> bool:
    """Nothing stands there (what the portal itself keeps there does not count)."""
    return not root.exists() or (root.is_dir() and all(path.name == ".rollback" for path in root.iterdir()))


# --- the steps ------------------------------------------------------------------------------------------------------


def tag_state(context: Context) -> Facts:
    tag = context.goal["tag"]
    commit = git.head(context.root).commit
    git.tag(context.root, tag, commit, context.goal["message"])
    context.say(f"{tag} → {commit[:10]}\n")
    left = git.uncommitted(context.root)
    if left:
        context.say(f"{len(left)} uncommitted files are not part of the tag: {', '.join(c.path for c in left[:5])}\n")
    return {"commit": commit}


def untag(context: Context) -> None:
    """The last that is taken back."""
    git.delete_tag(context.root, context.goal["tag"])
    sync(context.manifest)


def take_files(context: Context) -> Facts:
    into = fresh_part(context)
    for folder in ("config", "secrets"):  # half a file of one who was killed is none of the system's
        files.remove(into / folder)
    copied = copy_files(context.manifest, into)
    context.say("".join(f"{name}\n" for name in copied) or "the manifest names no configuration files\n")
    return {"files": copied}


def fresh_part(context: Context) -> Path:
    into = part(context.manifest, context.goal["tag"])
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    return into


def drop_part(context: Context) -> None:
    for path in (part(context.manifest, context.goal["tag"]), place(context.manifest, context.goal["tag"])):
        if path.exists():
            shutil.rmtree(path)


def take_artifacts(context: Context) -> Facts:
    """What has not changed since the goal's `previous` restore point, which is sound, is shared with it."""
    tag = context.goal.get("previous", "")
    previous = place(context.manifest, tag) if tag else None
    return {**artifacts.keep(context.manifest, fresh_part(context), previous, context.say), "previous": tag}


def write_down(context: Context) -> Facts:
    manifest, tag = context.manifest, context.goal["tag"]
    into, commit = part(manifest, tag), context.facts["tag"]["commit"]
    if not place(manifest, tag).exists():
        write_description(manifest, tag, commit, into)
        frozen = (into / FREEZE).read_text().splitlines()
        context.say(f"{len(frozen)} packages frozen\nDEPLOYED_VERSION.txt\nrestore.sh\n")
    sealed = seal(manifest, tag, commit, into)
    own = sealed["size"] - shared_bytes(place(manifest, tag))
    context.say(f"{place(manifest, tag)}: {sealed['size']} bytes, of which {own} are its own\n")
    return {"restore_point": sealed}


def shared_bytes(point: Path) -> int:
    """What deleting the restore point would not free: other ones have it too."""
    size = artifacts.size(point)
    return size.bytes - size.own


def read_back(context: Context) -> Facts:
    """Is it sound, and of one state? A deployment between its parts leaves one commit's tag with another's files."""
    sealed = context.facts["seal"]["restore_point"]
    now = git.head(context.root).commit
    if now != sealed["commit"]:
        raise StepFailed(
            f"Somebody deployed while the backup was made: {sealed['commit'][:10]} was tagged, and {now[:10]} is live. "
            "Nothing live was changed. Ask for another one when the deployment has ended."
        )
    point = Point(sealed["tag"], sealed["commit"], sealed["manifest_sha256"])
    if edited := edited_since(context.manifest, point):
        raise StepFailed(
            f"{', '.join(edited)} changed while the backup was made: it would hold files of two states. Nothing live "
            "was changed. Ask for another one when nobody is at work there."
        )
    return check_sealed(context, trusted=context.facts["artifacts"].get("previous", ""))


def check_sealed(context: Context, trusted: str = "") -> Facts:
    """Raises StepFailed unless every member of what was just sealed can be read, and is what was written."""
    sealed = context.facts["seal"]["restore_point"]
    point = Point(sealed["tag"], sealed["commit"], sealed["manifest_sha256"])
    if wrong := check(context.manifest, point, trusted=trusted):
        raise StepFailed("The restore point cannot be trusted: " + "; ".join(wrong))
    context.say("every member was read back, and its hash is right\n")
    return {"verified": True}


def edited_since(manifest: Manifest, point: Point) -> list[str]:
    """Configuration and secrets that are not (any more) what was copied."""
    names = (*manifest.config, *manifest.secrets)
    live = {name: files.inside(manifest.root, name) for name in names}
    now = {name: path.read_bytes() if path.is_file() else None for name, path in live.items()}
    return [name for name in names if now[name] != kept_file(manifest, point, name)]


def keep_history(context: Context) -> Facts:
    """The tag and its history into the backups' own repository: a restore point outlives the checkout."""
    git.mirror(context.root, mirror(context.manifest), context.goal["tag"])
    context.say(f"{mirror(context.manifest)} has {context.goal['tag']}\n")
    if git.is_shallow(context.root):
        context.say(f"{context.root} is a shallow clone: what lies before it is not kept\n")
    return {}


def forget_history(context: Context) -> None:
    git.delete_tag(mirror(context.manifest), context.goal["tag"])


def push(context: Context) -> Facts:
    """A remote that is down does not spoil the backup: it is said, and the tag stays in the checkout."""
    if not context.manifest.push_tags:
        context.say("the manifest does not ask for tags to be pushed\n")
        return {"pushed": False}
    try:
        pushed = git.push_tag(context.root, context.goal["tag"])
    except git.GitError as error:
        context.say(f"warning: the tag could not be pushed, and is kept here only: {error}\n")
        return {"pushed": False}  # the words are in the output alone, which is masked
    context.say("pushed\n" if pushed else "there is no remote\n")
    return {"pushed": pushed}


def plan(manifest: Manifest, request: Request) -> Plan:
    """A backup's goal is only its name: `request.target` is the tag. Raises CannotPlan."""
    try:
        git.check_checkout(manifest.root)
    except (git.GitError, OSError) as error:
        raise CannotPlan(str(error)) from error
    goal = {"tag": request.target, "message": "Pre-deployment backup"}
    return Plan({"goal": goal, "found": {}, "steps": [step.name for step in PROCEDURE.steps]}, {})


PROCEDURE = Procedure(
    "backup",
    "Backup",
    (
        PREFLIGHT,
        Step("tag", "Tag the current state", tag_state, undo=untag),
        Step("history", "Keep the history beside the restore points", keep_history, undo=forget_history),
        Step("files", "Copy configuration and secrets", take_files, undo=drop_part),
        Step("artifacts", "Keep the artifacts", take_artifacts),
        Step("seal", "Freeze packages, write restore.sh, hash everything", write_down),
        Step("verify", "Read it back", read_back),
        Step("push", "Push the tag", push),
    ),
    plan,
)
