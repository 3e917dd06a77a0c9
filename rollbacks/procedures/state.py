"""State rollback: the guide's Scenario 4, "Database/State Rollback".

Artifacts are unpacked beside the live ones and renamed in. What was there, and suspect logs, are set aside and never
deleted: they are what the post-mortem is about. Code, packages and configuration stay as they are found.
"""

from __future__ import annotations

from rollbacks.procedures import artifacts, backup, planning
from rollbacks.procedures.base import CannotPlan, Plan, Procedure, Request
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import ARTIFACTS
from rollbacks.procedures.switch import SWITCH
from rollbacks.procedures.verify import HEALTH, PROCESS, RECORD
from rollbacks.tools.manifest import Manifest

STEPS = (PREFLIGHT, SAFETY, ARTIFACTS, SWITCH, PROCESS, HEALTH, RECORD)


@planning.guarded
def plan(manifest: Manifest, request: Request) -> Plan:
    head = planning.look(manifest, request)
    if request.point is None:
        raise CannotPlan(f"{request.target} is no restore point, and only a restore point holds artifacts.")
    held = artifacts.held(manifest, backup.place(manifest, request.point.tag))
    if not held:
        raise CannotPlan(f"Restore point {request.point.tag} holds no artifacts. Choose another one.")
    if request.reset_metrics and not manifest.commands.get("reset_metrics"):
        raise CannotPlan(f"The manifest of {manifest.name} names no command “reset_metrics”.")
    goal = {
        "artifacts": list(held),
        "logs": list(manifest.logs) if request.set_logs_aside else [],
        "reset": request.reset_metrics,
    }
    shown = {
        "target": planning.commit_facts(manifest, request.point.commit),
        "artifacts": artifacts.changes(manifest, held),
        "logs_aside": goal["logs"],
        "reset": manifest.commands.get("reset_metrics", "") if request.reset_metrics else "",
    }
    return planning.complete(manifest, head, goal, STEPS, shown, request.point)


PROCEDURE = Procedure("state", "State rollback", STEPS, plan)
