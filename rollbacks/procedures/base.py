"""What a procedure is made of. Nothing here knows Django: manifest and plain values in, plain values out (DESIGN 5)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rollbacks.tools import ToolError
from rollbacks.tools.manifest import Manifest

FULL = (*(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)), "Out of diskspace")  # as git says it
Facts = dict[str, Any]  # JSON: it is kept in the step's row, so that another worker can go on from it


class CannotPlan(ToolError):
    """The rollback cannot be made as asked; the message says why and what to do instead."""


class StepFailed(ToolError):
    """The step did not reach its goal; the message says what was seen. What was done before is undone."""


def in_words(error: Exception) -> str:
    """What a person is told of a fault, whoever noticed it: git and tar say of a full disk only that it is full."""
    said = str(error) if isinstance(error, ToolError | OSError) else f"{type(error).__name__}: {error}"
    if any(words in said for words in FULL):
        return f"The disk is full: {said.rstrip('.')}. Free some space (old restore points, logs), then ask again."
    return said


@dataclass(frozen=True)
class Point:
    """A restore point as a procedure sees it: where it lies and what its manifest's sha256 has to be."""

    tag: str
    commit: str
    manifest_sha256: str


@dataclass(frozen=True)
class Request:
    """What was asked for. `target` is a commit, tag or branch; with a `point` it is the point's tag."""

    target: str
    point: Point | None = None
    with_configuration: bool = False
    component: str = ""
    set_logs_aside: bool = False
    reset_metrics: bool = False
    elsewhere: bool = False  # into a directory where nothing stands, and not onto the system itself


@dataclass(frozen=True)
class Plan:
    """What a procedure will do to this system now. `essence` is what an approval is bound to; `shown` is for people.

    essence: {"goal": {...}, "found": {...}, "steps": [...]}; both are JSON.
    """

    essence: Facts
    shown: Facts

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.essence, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> Facts:
        return asdict(self)


@dataclass
class Context:
    """What a step is given: the plan, what earlier steps found, and its line to the person who watches."""

    manifest: Manifest
    run: int
    token: int
    holder: str
    essence: Facts
    safety_tag: str
    say: Callable[[str], None]
    stopped: Callable[[], bool]
    facts: dict[str, Facts] = field(default_factory=dict)  # by step name

    @property
    def root(self) -> Path:
        return self.manifest.root

    @property
    def state_dir(self) -> Path:
        return self.manifest.state_dir

    @property
    def stage(self) -> Path:
        """Where this run lays things out beside the live tree, on the same file system."""
        return self.state_dir / "stage" / str(self.run)

    @property
    def groups(self) -> Path:
        """Where running commands are noted, so that a successor can end those of a dead worker."""
        return self.state_dir / "commands"

    @property
    def goal(self) -> Facts:
        goal: Facts = self.essence.get("goal", {})
        return goal


def nothing(context: Context) -> None:
    """For a step that has nothing to undo (it changed nothing), or nothing to verify beyond what it did."""


def never(context: Context) -> Facts | None:
    """For a step that is simply done again when it was interrupted: cheap, and it changes nothing live."""
    return None


@dataclass(frozen=True)
class Step:
    """One unit of a procedure.

    probe: looks at real state; the step's facts when its goal is already reached, else None (asked after a takeover)
    apply: does it, and returns its facts; may be run again after an interruption
    verify: raises StepFailed unless the goal is reached
    undo: puts back what apply changed, and verifies that; may be run again, also when apply was cut short
    by_hand: what a person types when undo fails
    """

    name: str
    title: str
    apply: Callable[[Context], Facts]
    probe: Callable[[Context], Facts | None] = never
    verify: Callable[[Context], None] = nothing
    undo: Callable[[Context], None] = nothing
    by_hand: Callable[[Context], list[str]] = field(default=lambda context: [])
    outage: bool = False


@dataclass(frozen=True)
class Procedure:
    """A runbook: its steps in order, and the function that plans them for a request."""

    name: str
    title: str
    steps: tuple[Step, ...]
    plan: Callable[[Manifest, Request], Plan]

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)
