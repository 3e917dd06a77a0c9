"""Code rollback: the guide's Scenario 1, "Failed Code Deployment".

The guide stops the service first. Here everything that can be done while it runs is done before: the release is laid
out beside the live tree, its environment is built, its own tests are run; then the switch takes as long as a restart.
"""

from __future__ import annotations

from pathlib import Path

from rollbacks.procedures import backup, difference, stage
from rollbacks.procedures.base import CannotPlan, Facts, Plan, Point, Procedure, Request, in_words
from rollbacks.procedures.preflight import PREFLIGHT, hide_own
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import ENVIRONMENT, TRY, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import ToolError, environment, files, git
from rollbacks.tools.manifest import Manifest


def plan(manifest: Manifest, request: Request) -> Plan:
    """What would change, with real differences. Changes nothing. Raises CannotPlan."""
    try:
        return make_plan(manifest, request)
    except CannotPlan:
        raise
    except (ToolError, OSError, ValueError) as error:
        raise CannotPlan(in_words(error)) from error


def make_plan(manifest: Manifest, request: Request) -> Plan:
    git.check_checkout(manifest.root)
    hide_own(manifest)
    check_point(manifest, request.point)
    head = git.head(manifest.root)
    commit = git.resolve(manifest.root, request.target)
    changes = git.uncommitted(manifest.root)
    sources = {
        name: config_source(manifest, request, name, {each.path for each in changes}) for name in manifest.config
    }
    wanted = {
        name: stage.wanted_config(manifest, name, source, commit, request.point) for name, source in sources.items()
    }
    if wrong := [words for name, content in wanted.items() if content and (words := stage.check_config(name, content))]:
        raise CannotPlan(f"{'; '.join(wrong)}. Choose another target, or its configuration from a restore point.")
    requirements = stage.requirements_of(manifest, commit, request.point)
    lock = stage.lock_for(manifest, requirements)
    goal = {
        "commit": commit,
        "point": point_facts(request.point),
        "lock": lock,
        "config": sources,
        "wanted": {name: files.digest(content or b"") for name, content in wanted.items()},
    }
    if (
        head.commit == commit
        and not changes
        and not moves_config(manifest, wanted)
        and same_packages(manifest, requirements)
    ):
        raise CannotPlan(
            f"{manifest.name} is at {commit[:10]} already, with nothing uncommitted: there is nothing to do."
        )
    return Plan(
        {"goal": goal, "found": found(manifest, head), "steps": [step.name for step in PROCEDURE.steps]},
        {
            "target": commit_facts(manifest, commit),
            "from": commit_facts(manifest, head.commit),
            "branch": head.branch,
            "left_behind": [describe(each) for each in git.between(manifest.root, commit, head.commit)],
            "brought": [describe(each) for each in git.between(manifest.root, head.commit, commit)],
            "files": [vars(each) for each in git.changed_files(manifest.root, head.commit, commit)],
            "uncommitted": [vars(each) for each in changes],
            "packages": difference.packages(environment.freeze(manifest.live_environment), requirements),
            "configuration": [
                change for name, content in wanted.items() for change in config_changes(manifest, name, content)
            ],
            "kept_configuration": [name for name, source in sources.items() if source == "live"],
            "environment_kept": bool(lock) and environment.is_kept(stage.kept_environment(manifest, lock)),
            "steps": [{"name": s.name, "title": s.title, "outage": s.outage} for s in PROCEDURE.steps],
        },
    )


def check_point(manifest: Manifest, point: Point | None) -> None:
    if point is not None and (wrong := backup.check(manifest, point)):
        raise CannotPlan(f"Restore point {point.tag} is broken: {'; '.join(wrong)}. Choose another one.")


def found(manifest: Manifest, head: git.Head) -> Facts:
    """What an approval is bound to on the side of the live system: if any of it moves, the approval is void."""
    live = environment.current(manifest.live_environment)
    names = (*manifest.config, *manifest.secrets)
    paths = {name: files.inside(manifest.root, name) for name in names}
    return {
        "commit": head.commit,
        "branch": head.branch,
        "tree": git.tree_state(manifest.root, manifest.unwatched),
        "packages": files.digest(environment.freeze(manifest.live_environment)),
        "environment": {"kind": live.kind, "target": live.target},
        "configuration": {name: files.sha256(path) if path.is_file() else "" for name, path in paths.items()},
    }


def config_source(manifest: Manifest, request: Request, name: str, changed: set[str]) -> str:
    """Where a configuration file comes from: the restore point when asked for; else, edited on the host, it stays;
    else it goes with the commit."""
    if request.with_configuration and request.point is not None:
        kept = files.inside(backup.place(manifest, request.point.tag) / "config", name)
        if kept.is_file():
            return "point"
    tracked = git.show(manifest.root, "HEAD", name) is not None
    return "live" if name in changed or not tracked else "commit"


def moves_config(manifest: Manifest, wanted: dict[str, bytes | None]) -> bool:
    paths = {name: files.inside(manifest.root, name) for name in wanted}
    return any(content is not None and content != live_bytes(paths[name]) for name, content in wanted.items())


def live_bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def config_changes(manifest: Manifest, name: str, content: bytes | None) -> list[Facts]:
    if content is None:
        return []
    live = live_bytes(files.inside(manifest.root, name)) or b""
    return difference.configuration(name, live, content)


def same_packages(manifest: Manifest, requirements: str) -> bool:
    return not difference.packages(environment.freeze(manifest.live_environment), requirements)


def point_facts(point: Point | None) -> Facts | None:
    return vars(point) if point is not None else None


def commit_facts(manifest: Manifest, commit: str) -> Facts:
    tags = [name for name, tagged, _ in git.tags(manifest.root, "*") if tagged == commit]
    releases = [name for name in tags if not name.startswith(("backup-", "failed-"))]
    return {**describe(git.commit(manifest.root, commit)), "tags": (releases or tags)[:3]}


def describe(commit: git.Commit) -> Facts:
    return {"sha": commit.sha, "subject": commit.subject, "author": commit.author, "at": commit.at.isoformat()}


PROCEDURE = Procedure(
    "code",
    "Code rollback",
    (PREFLIGHT, SAFETY, WORKTREE, ENVIRONMENT, TRY, SWITCH, PROCESS, HEALTH, RECORD),
    plan,
)
