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
from rollbacks.procedures import base
from rollbacks.procedures.known import PROCEDURES


@dataclass(frozen=True)
class Call:
    """Of one function of a step: when it began and ended, also by the clock of the worker's own thread (which stands
    still while others have the processor), and the worker's statements until then."""

    name: str
    began: float
    ended: float
    worked_until: float
    worked_on: float
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
            began, worked_until, statements = time.perf_counter(), time.thread_time(), self.statements["worker"]
            try:
                return act(context)
            finally:
                ended, worked_on = time.perf_counter(), time.thread_time()
                self.calls.append(Call(name, began, ended, worked_until, worked_on, statements))

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
            "own": sum(call.ended - call.began for call in self.calls),
            "steps": sum(call.name in ("apply", "undo") for call in self.calls),
            "between": self.between(),
            "statements": dict(self.statements),
            "statements_between": self.calls[-1].statements - self.calls[0].statements if self.calls else 0,
        }

    def between(self) -> list[tuple[float, float]]:
        """Of each step but the first: seconds from the end of the one before it to its own, without what it did; and
        how long the worker's own thread was at work in them."""
        found: list[tuple[float, float]] = []
        for before, call in itertools.pairwise(self.calls):
            gap, work = call.began - before.ended, call.worked_until - before.worked_on
            if call.name in ("apply", "undo"):
                found.append((gap, work))
            elif found:
                found[-1] = (found[-1][0] + gap, found[-1][1] + work)
        return found
