"""The planner: turns a goal into steps."""

from __future__ import annotations

from typing import Any

from cachetools import LRUCache

TOKENS_PER_STEP = 512


class Planner:
    def __init__(self, settings: dict[str, Any]) -> None:
        own = settings["agents"]["planner"]
        self.model: str = own["model"]
        self.models: dict[str, dict[str, Any]] = settings["models"]
        self.max_steps: int = own["max_steps"]
        self.plans: LRUCache[str, list[str]] = LRUCache(maxsize=256)

    def plan(self, goal: str) -> list[str]:
        """The goal's parts as steps, as many as the configuration allows and the model's context holds."""
        if goal not in self.plans:
            parts = [part.strip() for part in goal.replace(" and ", ",").split(",")]
            self.plans[goal] = [part for part in parts if part][: min(self.max_steps, self.budget())]
        return self.plans[goal]

    def budget(self) -> int:
        """How many steps fit into the model's context window."""
        return int(self.models[self.model]["context_window"]) // TOKENS_PER_STEP
