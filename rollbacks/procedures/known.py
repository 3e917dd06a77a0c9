"""All procedures, by name. Not in __init__.py: the switch is a process of its own, which needs none of them and is
sooner there without."""

from __future__ import annotations

from rollbacks.procedures import adopt, backup, code, config, dependencies, full, partial, state
from rollbacks.procedures.base import Procedure

PROCEDURES: dict[str, Procedure] = {
    each.PROCEDURE.name: each.PROCEDURE for each in (adopt, backup, code, config, dependencies, state, partial, full)
}
ROLLBACKS = [name for name in PROCEDURES if name not in (backup.PROCEDURE.name, adopt.PROCEDURE.name)]
