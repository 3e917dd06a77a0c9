"""What to do: one file per procedure, data and plain functions. The engine that carries them out is runner.py."""

from __future__ import annotations

from rollbacks.procedures import adopt, backup, code, config, dependencies, full, partial, state
from rollbacks.procedures.base import Procedure

PROCEDURES: dict[str, Procedure] = {
    each.PROCEDURE.name: each.PROCEDURE for each in (adopt, backup, code, config, dependencies, state, partial, full)
}
ROLLBACKS = [name for name in PROCEDURES if name not in (backup.PROCEDURE.name, adopt.PROCEDURE.name)]
