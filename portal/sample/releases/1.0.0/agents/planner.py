"""The planner: turns a goal into steps."""

from __future__ import annotations

from typing import Any


class Planner:
    def __init__(self, settings: dict[str, Any]) -> None:
        own = settings["agents"]["planner"]
        self.model: str = own["model"]
        self.max_steps: int = own["max_steps"]

    def plan(self, goal: str) -> list[str]:
        """The goal's parts as steps, as many as the configuration allows."""
        parts = [part.strip() for part in goal.replace(" and ", ",").split(",")]
        return [part for part in parts if part][: self.max_steps]
