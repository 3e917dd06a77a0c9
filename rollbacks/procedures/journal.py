"""Journals: JSON files on the host that outlive the worker. The journal of a switch says what is to be reached, and
then what was done:

{"goal": {...}, "old_pid", "began", "done": {...} | absent}; times in Unix seconds; goal is {"run", "root",
"live_environment", "found_environment", "set_aside", "left", "unwatched", "commit", "branch", "snapshot", "index",
"environment", "config", "absent", "running", "service"}. `snapshot` set means: back to the state as found, uncommitted
changes included; what came since goes to `left`.
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
