"""Full rollback: the guide's "Full System Restore".

Everything of a restore point: commit, environment, configuration, secrets, artifacts. Where the system stands it is
staged beside it and switched in. Where nothing stands (an empty directory, a host that has never seen the system) the
repository is brought first; then the same steps do the same work.
"""

from __future__ import annotations

from rollbacks.procedures import artifacts, backup, code, planning, stage
from rollbacks.procedures.base import CannotPlan, Context, Facts, Plan, Point, Procedure, Request, Step, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT, hide_own
from rollbacks.procedures.safety import SAFETY, as_found
from rollbacks.procedures.stage import ARTIFACTS, ENVIRONMENT, TRY, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import files, git
from rollbacks.tools.manifest import Manifest


@planning.guarded
def plan(manifest: Manifest, request: Request) -> Plan:
    point = request.point
    if point is None:
        raise CannotPlan(
            f"{request.target} is no restore point, and a full rollback needs one: only it holds configuration, "
            "secrets and artifacts. For a bare commit ask for a code rollback."
        )
    if backup.is_empty(manifest.root):
        planning.check_point(manifest, point)
        return plan_anew(manifest, point)
    check_standing(manifest, request)
    head = planning.look(manifest, request)
    wanted = kept_files(manifest, point)
    requirements = stage.requirements_of(manifest, point.commit, point)
    shown = {
        **code.code_facts(manifest, head, point.commit),
        **planning.environment_facts(manifest, requirements, stage.lock_for(manifest, requirements, point)),
        "configuration": planning.config_changes(
            manifest, {name: wanted[name] for name in manifest.config if name in wanted}
        ),
        "secrets": [name for name in planning.moves(manifest, wanted) if name in manifest.secrets],
        "artifacts": artifacts.changes(manifest, held_artifacts(manifest, point)),
    }
    return planning.complete(manifest, head, goal_of(manifest, point, wanted), PROCEDURE.steps, shown, point)


def check_standing(manifest: Manifest, request: Request) -> None:
    """Raises CannotPlan where something stands that is not the system: it is nobody's to overwrite."""
    if request.elsewhere:
        raise CannotPlan(
            f"{manifest.root} is not empty. Nothing was changed. Name an empty directory, or one that is not there yet."
        )
    if not (manifest.root / ".git").exists():
        raise CannotPlan(
            f"{manifest.root} is neither empty nor a git checkout. Nothing was changed. Move away what is left there, "
            "and ask again: then all of it is brought back from the restore point."
        )


def plan_anew(manifest: Manifest, point: Point) -> Plan:
    """Onto an empty directory: there is nothing to compare with, and nothing that could be lost."""
    wanted = kept_files(manifest, point)
    goal = {**goal_of(manifest, point, wanted), "anew": True}
    shown = {
        "anew": str(manifest.root),
        "target": {"sha": point.commit, "subject": "", "tags": [point.tag]},
        "artifacts": artifacts.changes(manifest, held_artifacts(manifest, point)),
        "secrets": [name for name in wanted if name in manifest.secrets],
        "kept_configuration": [name for name in manifest.config if name not in wanted],
        "lacks": backup.lacking(manifest, point),
    }
    found = {"manifest": files.digest(manifest.text), "commit": "", "tree": "empty"}
    return planning.plan(goal, found, PROCEDURE.steps, shown, point)


def goal_of(manifest: Manifest, point: Point, wanted: dict[str, bytes]) -> Facts:
    requirements = stage.requirements_of(manifest, point.commit, point)
    return {
        "commit": point.commit,
        "lock": stage.lock_for(manifest, requirements, point),
        "config": {name: "point" for name in manifest.config if name in wanted},
        "secrets": [name for name in manifest.secrets if name in wanted],
        "wanted": planning.digests(wanted),
        "artifacts": list(held_artifacts(manifest, point)),
    }


def held_artifacts(manifest: Manifest, point: Point) -> dict[str, int]:
    return artifacts.held(manifest, backup.place(manifest, point.tag))


def kept_files(manifest: Manifest, point: Point) -> dict[str, bytes]:
    """Configuration and secrets of the restore point, by path."""
    kept = {name: backup.kept_file(manifest, point, name) for name in (*manifest.config, *manifest.secrets)}
    return {name: content for name, content in kept.items() if content is not None}


# --- the repository -------------------------------------------------------------------------------------------------


def bring_repository(context: Context) -> Facts:
    """Where nothing stands: a repository with the restore point's history, and nothing checked out yet."""
    if not context.goal["anew"]:
        context.say("the repository is there\n")
        return {}
    tag, root = context.goal["point"]["tag"], context.root
    git.begin(root)
    hide_own(context.manifest)
    sources = backup.repositories(context.manifest, tag)
    for source in sources:
        try:
            git.fetch_tag(root, source, tag)
        except git.GitError as error:
            context.say(f"{error}\n")
        else:
            context.say(f"history brought from {source}\n")
            git.add_remote(root, backup.described(context.manifest, tag).get("remote", ""))
            return {"source": source}
    raise StepFailed(
        f"The history of {tag} cannot be had from {', '.join(sources) or 'anywhere'}. Nothing else was changed. Copy "
        "repository.git of the backups to this host, or make its remote reachable, and ask again."
    )


def check_repository(context: Context) -> None:
    if git.resolve(context.root, context.goal["commit"]) != context.goal["commit"]:
        raise StepFailed(f"{context.root} does not know {context.goal['commit'][:10]}.")


def take_repository_away(context: Context) -> None:
    """Only the repository that was begun here. What came beside it since (logs, data of the service) is set aside."""
    if context.goal["anew"]:
        files.remove(context.root / ".git")
        for path in sorted(context.root.iterdir()):
            if path.name != context.state_dir.name:
                files.set_aside(path, as_found(context) / "left" / path.name)


REPOSITORY = Step("repository", "Bring the repository", bring_repository, verify=check_repository,
                  undo=take_repository_away)  # fmt: skip

PROCEDURE = Procedure(
    "full",
    "Full rollback",
    (PREFLIGHT, REPOSITORY, SAFETY, WORKTREE, ENVIRONMENT, ARTIFACTS, TRY, SWITCH, PROCESS, HEALTH, RECORD),
    plan,
)
