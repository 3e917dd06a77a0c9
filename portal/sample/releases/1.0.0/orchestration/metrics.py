"""What the service counts and remembers, in artifacts/."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from orchestration.coordinator import ROOT

ARTIFACTS = ROOT / "artifacts"


class MetricsCollector:
    def __init__(self, folder: Path = ARTIFACTS) -> None:
        self.file = folder / "metrics.json"
        self.history = folder / "history.jsonl"
        self.lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, int]:
        """The counters on disk, zero where there are none."""
        zero = {"runs": 0, "steps": 0, "remarks": 0}
        return zero | json.loads(self.file.read_text()) if self.file.exists() else zero

    def remember(self, event: str, **details: Any) -> None:
        """One line of history."""
        with self.history.open("a") as lines:
            lines.write(json.dumps({"at": round(time.time(), 3), "event": event} | details) + "\n")

    def count(self, result: dict[str, Any]) -> None:
        """Adds one run, and remembers it."""
        with self.lock:
            now = self.read()
            now["runs"] += 1
            now["steps"] += len(result["steps"])
            now["remarks"] += len(result["remarks"])
            self.write(now)
            self.remember("run", goal=result["goal"], steps=len(result["steps"]))

    def reset(self) -> None:
        """Sets every counter to zero; the history stays."""
        with self.lock:
            self.write({"runs": 0, "steps": 0, "remarks": 0})
            self.remember("metrics reset")

    def write(self, counters: dict[str, int]) -> None:
        """Replaces the file in one move, so that nobody reads half of it."""
        made = self.file.with_suffix(".new")
        made.write_text(json.dumps(counters, indent=2) + "\n")
        made.replace(self.file)


@cache
def get_metrics_collector() -> MetricsCollector:
    """The collector of this process."""
    return MetricsCollector()
