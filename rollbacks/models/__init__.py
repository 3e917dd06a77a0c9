from __future__ import annotations

from rollbacks.models.checklist import ChecklistTick
from rollbacks.models.health_sample import HealthSample
from rollbacks.models.log_entry import ImportedLogEntry, RollbackLogEntry
from rollbacks.models.matrix import Decision, DecisionRule, MatrixVersion, NoMatrix, decide
from rollbacks.models.restore_point import READABLE, RestorePoint, RestorePointState
from rollbacks.models.rollback import ACTIVE, ENDED, Approval, Plan, Rollback, RollbackState
from rollbacks.models.run import Run, Step, StepOutput, StepState
from rollbacks.models.system import Health, HealthChange, System

__all__ = [
    "ACTIVE",
    "ENDED",
    "READABLE",
    "Approval",
    "ChecklistTick",
    "Decision",
    "DecisionRule",
    "Health",
    "HealthChange",
    "HealthSample",
    "ImportedLogEntry",
    "MatrixVersion",
    "NoMatrix",
    "Plan",
    "RestorePoint",
    "RestorePointState",
    "Rollback",
    "RollbackLogEntry",
    "RollbackState",
    "Run",
    "Step",
    "StepOutput",
    "StepState",
    "System",
    "decide",
]
