"""What the plans of all procedures have in common: looking at the live system, and saying what would change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path

from rollbacks.procedures import backup, difference, stage
from rollbacks.procedures.base import CannotPlan, Facts, Plan, Point, Request, Step, in_words
from rollbacks.procedures.preflight import hide_own
from rollbacks.tools import ToolError, environment, files, git
from rollbacks.tools.manifest import Manifest

Planner = Callable[[Manifest, Request], Plan]

# What a procedure does not name stays as it is found.
STAYS: Facts = {
    "commit": "",  # that the code goes to
    "source": "",  # that single files are taken from
    "component": "",
    "paths": [],
    "message": "",  # of the commit that restores the component
    "point": None,
    "lock": "",  # of the environment
    "config": {},  # {path: "point" | "commit" | "live"}
    "secrets": [],  # paths, from the point
    "wanted": {},  # {path: sha256} of configuration and secrets
    "artifacts": [],  # names, from the point
    "logs": [],  # directories whose logs are set aside
    "reset": False,  # the metrics
    "anew": False,  # nothing stands there yet
}


class BrokenPoint(CannotPlan):
    """The restore point is not what was written: nobody else should be sent there either."""

    def __init__(self, tag: str, wrong: str) -> None:
        self.wrong = wrong
        super().__init__(f"Restore point {tag} is broken: {wrong}. Choose another one.")


def guarded(make: Planner) -> Planner:
    """Whatever the outside refuses while it is looked at is a reason why there is no plan."""

    @wraps(make)
    def plan(manifest: Manifest, request: Request) -> Plan:
        try:
            return make(manifest, request)
        except CannotPlan:
            raise
        except (ToolError, OSError, ValueError) as error:
            raise CannotPlan(in_words(error)) from error

    return plan


def look(manifest: Manifest, request: Request) -> git.Head:
    """Where the checkout is, once it and the restore point are known to be sound. Raises ToolError."""
    head = git.check_checkout(manifest.root)
    hide_own(manifest)
    check_point(manifest, request.point)
    for commit in (head.commit, git.resolve(manifest.root, request.target)):
        if modules := git.submodules(manifest.root, commit):
            raise CannotPlan(
                f"{commit[:10]} has submodules ({', '.join(modules[:5])}), which the portal does not roll back. "
                "Nothing was changed. Roll back by hand, or bring them into the repository (git subtree)."
            )
    return head


def check_point(manifest: Manifest, point: Point | None) -> None:
    if point is not None and (wrong := backup.check(manifest, point, deep=False)):
        raise BrokenPoint(point.tag, "; ".join(wrong))


def complete(
    manifest: Manifest, head: git.Head, goal: Facts, steps: Sequence[Step], shown: Facts, point: Point | None = None
) -> Plan:
    """The plan for a system that stands: what a procedure moves (`goal`) and what people read (`shown`)."""
    live: Facts = {
        "from": commit_facts(manifest, head.commit),
        "branch": head.branch,
        "lacks": backup.lacking(manifest, point) if point is not None else [],
    }
    if "uncommitted" not in shown:
        live["uncommitted"] = [file_facts(each) for each in git.uncommitted(manifest.root)]
    return plan(goal, found(manifest, head), steps, {**live, **shown}, point)


def plan(goal: Facts, found: Facts, steps: Sequence[Step], shown: Facts, point: Point | None) -> Plan:
    goal = {**STAYS, **goal, "point": vars(point) if point is not None else None}
    listed = [{"name": step.name, "title": step.title, "outage": step.outage} for step in steps]
    essence = {"goal": goal, "found": found, "steps": [step.name for step in steps]}
    return Plan(essence, {"steps": listed, **shown})


def found(manifest: Manifest, head: git.Head) -> Facts:
    """What an approval is bound to on the side of the live system: if any of it moves, the approval is void."""
    live = environment.current(manifest.live_environment)
    names = (*manifest.config, *manifest.secrets)
    paths = {name: files.inside(manifest.root, name) for name in names}
    return {
        "manifest": files.digest(manifest.text),
        "commit": head.commit,
        "branch": head.branch,
        "tree": git.tree_state(manifest.root, manifest.unwatched, at=head),
        "packages": files.digest(environment.freeze(manifest.live_environment)),
        "environment": {"kind": live.kind, "target": live.target},
        "configuration": {name: files.sha256(path) if path.is_file() else "" for name, path in paths.items()},
    }


# --- configuration --------------------------------------------------------------------------------------------------


def wanted(manifest: Manifest, sources: dict[str, str], commit: str, point: Point | None) -> dict[str, bytes]:
    """What the configuration files will hold, by path. One that its source has not stays as it is."""
    contents = {name: stage.wanted_file(manifest, name, source, commit, point) for name, source in sources.items()}
    return {name: content for name, content in contents.items() if content is not None}


def check_valid(contents: dict[str, bytes]) -> None:
    """Raises CannotPlan for a configuration that could not be read."""
    if wrong := [words for name, content in contents.items() if (words := stage.check_config(name, content))]:
        raise CannotPlan(f"{'; '.join(wrong)}. Choose another target, or its configuration from a restore point.")


def moves(manifest: Manifest, contents: dict[str, bytes]) -> list[str]:
    """The paths whose content is not the live one."""
    return [name for name, content in contents.items() if content != live_bytes(files.inside(manifest.root, name))]


def live_bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def config_changes(manifest: Manifest, contents: dict[str, bytes]) -> list[Facts]:
    """Key by key, secrets hidden."""
    return [
        change
        for name, content in contents.items()
        for change in difference.configuration(name, live_bytes(files.inside(manifest.root, name)) or b"", content)
    ]


def digests(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: files.digest(content) for name, content in contents.items()}


# --- packages -------------------------------------------------------------------------------------------------------


def package_changes(manifest: Manifest, requirements: str) -> list[dict[str, str]]:
    return difference.packages(environment.freeze(manifest.live_environment), requirements)


def environment_facts(manifest: Manifest, requirements: str, lock: str) -> Facts:
    return {
        "packages": package_changes(manifest, requirements),
        "environment_kept": bool(lock) and environment.is_kept(stage.kept_environment(manifest, lock)),
    }


# --- commits and files ----------------------------------------------------------------------------------------------


def commit_facts(manifest: Manifest, commit: str) -> Facts:
    tags = [name for name, tagged, _ in git.tags(manifest.root, "*") if tagged == commit]
    releases = [name for name in tags if not name.startswith(("backup-", "failed-"))]
    return {**describe(git.commit(manifest.root, commit)), "tags": (releases or tags)[:3]}


def file_facts(change: git.FileChange) -> Facts:
    """A path as people can read it: a name need not be UTF-8 on the disk."""
    return {**vars(change), "path": change.path.encode(errors="replace").decode()}


def describe(commit: git.Commit) -> Facts:
    return {"sha": commit.sha, "subject": commit.subject, "author": commit.author, "at": commit.at.isoformat()}
