"""Journals: JSON files on the host that outlive the worker. The journal of a switch says what is to be reached, and
then what was done:

{"token", "goal": {...}, "old_pid", "boot", "began", "done": {...} | absent}; times in seconds since that boot of the
host, which no correction of its clock moves; the keys of a goal are made in switch.py (forward_goal, backward_goal).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rollbacks.tools import files

Journal = dict[str, Any]


def read(path: Path) -> Journal:
    try:
        journal: Journal = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return journal


def write(path: Path, journal: Journal) -> None:
    files.write(path, json.dumps(journal, indent=1, sort_keys=True).encode(), 0o600)
