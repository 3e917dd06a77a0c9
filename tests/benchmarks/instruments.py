"""What a run's time is spent on, measured inside the process that carries it out. Imported once Django is set up."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from rollbacks import runner
from rollbacks.procedures import PROCEDURES, base


@dataclass(frozen=True)
class Call:
    """Of one function of a step: when it began, how long it took, and the worker's statements until then."""

    name: str
    began: float
    seconds: float
    statements: int


class Instruments:
    """`Instruments().fit()`, once; then carry(). A clock around each function of a step, and a count of statements."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.statements: Counter[str] = Counter()

    def fit(self) -> None:
        procedure = PROCEDURES["code"]
        PROCEDURES["code"] = replace(procedure, steps=tuple(self.timed(step) for step in procedure.steps))
        connection_created.connect(lambda connection, **words: self.count(connection), weak=False)
        self.count(connections["default"])

    def timed(self, step: base.Step) -> base.Step:
        return replace(
            step,
            probe=self.clocked("probe", step.probe),
            apply=self.clocked("apply", step.apply),
            verify=self.clocked("verify", step.verify),
            undo=self.clocked("undo", step.undo),
        )

    def clocked(self, name: str, act: Callable[[base.Context], Any]) -> Callable[[base.Context], Any]:
        def clocked(context: base.Context) -> Any:
            began, statements = time.perf_counter(), self.statements["worker"]
            try:
                return act(context)
            finally:
                self.calls.append(Call(name, began, time.perf_counter() - began, statements))

        return clocked

    def count(self, connection: Any) -> None:
        def counted(execute: Callable[..., Any], *words: Any) -> Any:
            self.statements["heartbeat" if threading.current_thread().name.startswith("heartbeat") else "worker"] += 1
            return execute(*words)

        connection.execute_wrappers.append(counted)

    def carry(self, run: int) -> dict[str, Any]:
        """Carry it, and say what that took: in all, in the steps' own functions, and between the first and the last."""
        self.calls.clear()
        self.statements.clear()
        began = time.perf_counter()
        runner.carry(run)
        return {
            "seconds": time.perf_counter() - began,
            "own": sum(call.seconds for call in self.calls),
            "steps": sum(call.name in ("apply", "undo") for call in self.calls),
            "between": self.between(),
            "statements": dict(self.statements),
            "statements_between": self.calls[-1].statements - self.calls[0].statements if self.calls else 0,
        }

    def between(self) -> list[float]:
        """Of each step but the first: seconds from the end of the one before it to its own, without what it did."""
        found: list[float] = []
        for before, call in itertools.pairwise(self.calls):
            gap = call.began - before.began - before.seconds
            if call.name in ("apply", "undo"):
                found.append(gap)
            elif found:
                found[-1] += gap
        return found
