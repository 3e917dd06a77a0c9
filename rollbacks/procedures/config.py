"""Configuration rollback: the guide's Scenario 2, "Configuration Rollback", and "Configuration Restore" from a commit.

The guide stops the service, copies, and validates then. Here the files are parsed and the system's own
`validate_config` is run on a copy of the system as it is, before anything is touched.
"""

from __future__ import annotations

from rollbacks.procedures import planning
from rollbacks.procedures.base import CannotPlan, Plan, Procedure, Request
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import VALIDATE, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools import git
from rollbacks.tools.manifest import Manifest

STEPS = (PREFLIGHT, SAFETY, WORKTREE, VALIDATE, SWITCH, PROCESS, HEALTH, RECORD)


@planning.guarded
def plan(manifest: Manifest, request: Request) -> Plan:
    head = planning.look(manifest, request)
    if not manifest.config:
        raise CannotPlan(f"The manifest of {manifest.name} names no configuration files. Add them to its “config”.")
    source = git.resolve(manifest.root, request.target)
    origin = "point" if request.point else "commit"
    wanted = planning.wanted(manifest, dict.fromkeys(manifest.config, origin), source, request.point)
    if not wanted:
        raise CannotPlan(f"{request.target} holds none of {', '.join(manifest.config)}. Choose another target.")
    planning.check_valid(wanted)
    if not planning.moves(manifest, wanted):
        raise CannotPlan(f"The configuration of {manifest.name} is that of {request.target} already: nothing to do.")
    goal = {"source": source, "config": dict.fromkeys(wanted, origin), "wanted": planning.digests(wanted)}
    shown = {
        "target": planning.commit_facts(manifest, source),
        "configuration": planning.config_changes(manifest, wanted),
        "kept_configuration": [name for name in manifest.config if name not in wanted],
    }
    return planning.complete(manifest, head, goal, STEPS, shown, request.point)


PROCEDURE = Procedure("config", "Config restore", STEPS, plan)
