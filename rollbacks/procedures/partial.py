"""Partial rollback: the guide's "Partial Restore (Specific Component)".

The paths of one component from a commit, beside everything else as it is found; its own test; then a commit in the
system's repository with the guide's message. The test runs before the switch, on a copy.
"""

from __future__ import annotations

from rollbacks.procedures import planning
from rollbacks.procedures.base import CannotPlan, Plan, Procedure, Request
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import COMPONENT, TRY_COMPONENT, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import git
from rollbacks.tools.manifest import Manifest

STEPS = (PREFLIGHT, SAFETY, WORKTREE, COMPONENT, TRY_COMPONENT, SWITCH, PROCESS, HEALTH, RECORD)


@planning.guarded
def plan(manifest: Manifest, request: Request) -> Plan:
    head = planning.look(manifest, request)
    paths = component_paths(manifest, request.component)
    source = git.resolve(manifest.root, request.target)
    if not git.holds(manifest.root, source, paths):
        raise CannotPlan(f"{request.target} holds none of {', '.join(paths)}. Choose another target.")
    files = git.changed_files(manifest.root, head.commit, source, paths)
    changed = [each for each in git.uncommitted(manifest.root) if git.is_under(each.path, paths)]
    edited = [each for each in changed if each.kind != "untracked"]  # what git does not track stays
    if not files and not edited:
        raise CannotPlan(f"{request.component} is as in {request.target} already: there is nothing to do.")
    words = f"Restore {request.component} agent from backup"  # the guide's own
    goal = {"source": source, "component": request.component, "paths": list(paths), "message": words}
    shown = {
        "target": planning.commit_facts(manifest, source),
        "component": request.component,
        "files": [planning.file_facts(each) for each in files],
        "message": words,
    }
    return planning.complete(manifest, head, goal, STEPS, shown, request.point)


def component_paths(manifest: Manifest, name: str) -> tuple[str, ...]:
    if name in manifest.components:
        return manifest.components[name]
    known = ", ".join(manifest.components) or "none: add “components” to its manifest"
    raise CannotPlan(f"{manifest.name} has no component {name!r}. It has {known}.")


PROCEDURE = Procedure("partial", "Partial rollback", STEPS, plan)
