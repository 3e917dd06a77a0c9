"""What to do: one file per procedure, data and plain functions. The engine that carries them out is runner.py."""

from __future__ import annotations

from rollbacks.procedures import backup, code
from rollbacks.procedures.base import Procedure

PROCEDURES: dict[str, Procedure] = {each.name: each for each in (backup.PROCEDURE, code.PROCEDURE)}
ROLLBACKS = [name for name in PROCEDURES if name != backup.PROCEDURE.name]
