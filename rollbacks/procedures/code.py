"""Code rollback: the guide's Scenario 1, "Failed Code Deployment".

The guide stops the service first. Here everything that can be done while it runs is done before: the release is laid
out beside the live tree, its environment is built, its own tests are run; then the switch takes as long as a restart.
"""

from __future__ import annotations

from rollbacks.procedures import backup, planning, stage
from rollbacks.procedures.base import CannotPlan, Facts, Plan, Procedure, Request
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import ENVIRONMENT, TRY, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import files, git
from rollbacks.tools.manifest import Manifest

STEPS = (PREFLIGHT, SAFETY, WORKTREE, ENVIRONMENT, TRY, SWITCH, PROCESS, HEALTH, RECORD)


@planning.guarded
def plan(manifest: Manifest, request: Request) -> Plan:
    head = planning.look(manifest, request)
    commit = git.resolve(manifest.root, request.target)
    changes = git.uncommitted(manifest.root)
    sources = config_sources(manifest, request, {each.path for each in changes})
    wanted = planning.wanted(manifest, sources, commit, request.point)
    planning.check_valid(wanted)
    requirements = stage.requirements_of(manifest, commit, request.point)
    lock = stage.lock_for(manifest, requirements, request.point)
    environment = planning.environment_facts(manifest, requirements, lock)
    if head.commit == commit and not (changes or planning.moves(manifest, wanted) or environment["packages"]):
        raise CannotPlan(
            f"{manifest.name} is at {commit[:10]} already, with nothing uncommitted: there is nothing to do."
        )
    goal = {"commit": commit, "lock": lock, "config": sources, "wanted": planning.digests(wanted)}
    shown = {
        **code_facts(manifest, head, commit),
        **environment,
        "uncommitted": [planning.file_facts(each) for each in changes],
        "configuration": planning.config_changes(manifest, wanted),
        "kept_configuration": [name for name, source in sources.items() if source == "live"],
    }
    return planning.complete(manifest, head, goal, STEPS, shown, request.point)


def config_sources(manifest: Manifest, request: Request, changed: set[str]) -> dict[str, str]:
    return {name: config_source(manifest, request, name, changed) for name in manifest.config}


def config_source(manifest: Manifest, request: Request, name: str, changed: set[str]) -> str:
    """Where a configuration file comes from: the restore point when asked for; else, edited on the host, it stays;
    else it goes with the commit."""
    if request.with_configuration and request.point is not None:
        kept = files.inside(backup.place(manifest, request.point.tag) / "config", name)
        if kept.is_file():
            return "point"
    tracked = git.named(manifest.root, "HEAD", name) != ""
    return "live" if name in changed or not tracked else "commit"


def code_facts(manifest: Manifest, head: git.Head, commit: str) -> Facts:
    """The commits and files between what is live and the target."""
    return {
        "target": planning.commit_facts(manifest, commit),
        "left_behind": [planning.describe(each) for each in git.between(manifest.root, commit, head.commit)],
        "brought": [planning.describe(each) for each in git.between(manifest.root, head.commit, commit)],
        "files": [planning.file_facts(each) for each in git.changed_files(manifest.root, head.commit, commit)],
    }


PROCEDURE = Procedure("code", "Code rollback", STEPS, plan)
