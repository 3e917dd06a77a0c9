"""The reviewer: says what is wrong with a plan."""

from __future__ import annotations

from typing import Any


class Reviewer:
    def __init__(self, settings: dict[str, Any]) -> None:
        own = settings["agents"]["reviewer"]
        self.model: str = own["model"]
        self.longest_step: int = own["longest_step"]
        self.strict: bool = own.get("strict", False)

    def review(self, steps: list[str]) -> list[str]:
        """One remark for each doubtful step; none means that the plan is good."""
        remarks = [f"too long: {step}" for step in steps if len(step) > self.longest_step]
        remarks += [f"said twice: {step}" for step in sorted(set(steps)) if steps.count(step) > 1]
        if self.strict and not steps:
            remarks.append("nothing to do")
        return remarks
