"""Dependency rollback: the guide's Scenario 3, "Dependency Rollback".

The guide removes the live environment and hopes that the old one can be installed. Here it is built beside the live
one, checked, tried with the system's own tests, and then switched in; a package that can no longer be had is said by
name before the outage. Code and configuration stay as they are found.
"""

from __future__ import annotations

from rollbacks.procedures import backup, planning, stage
from rollbacks.procedures.base import CannotPlan, Plan, Procedure, Request
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import ENVIRONMENT, IMPORTS, TRY, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import git
from rollbacks.tools.manifest import Manifest

STEPS = (PREFLIGHT, SAFETY, WORKTREE, ENVIRONMENT, IMPORTS, TRY, SWITCH, PROCESS, HEALTH, RECORD)


@planning.guarded
def plan(manifest: Manifest, request: Request) -> Plan:
    head = planning.look(manifest, request)
    source = git.resolve(manifest.root, request.target)
    if request.point is not None and not backup.holds_freeze(manifest, request.point):
        raise CannotPlan(
            f"Restore point {request.target} holds no packages: it was made by hand, without {backup.FREEZE}. Choose "
            f"another one, or its commit {source[:10]} for the packages that {manifest.requirements} asks for there."
        )
    requirements = stage.requirements_of(manifest, source, request.point)
    lock = stage.lock_for(manifest, requirements, request.point)
    if not lock:
        raise CannotPlan(f"{request.target} names no packages ({manifest.requirements}). Choose another target.")
    environment = planning.environment_facts(manifest, requirements, lock)
    if not environment["packages"]:
        raise CannotPlan(f"The packages of {manifest.name} are those of {request.target} already: nothing to do.")
    goal = {"source": source, "lock": lock}
    shown = {"target": planning.commit_facts(manifest, source), **environment}
    return planning.complete(manifest, head, goal, STEPS, shown, request.point)


PROCEDURE = Procedure("dependencies", "Dependency rollback", STEPS, plan)
