"""What a run's time is spent on, measured inside the process that carries it out. Imported once Django is set up."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from rollbacks import runner
from rollbacks.procedures import base
from rollbacks.procedures.known import PROCEDURES


@dataclass(frozen=True)
class Call:
    """Of one function of a step: when it began and ended; until then and until its end the seconds that the worker was
    at work and that it queued for a processor (see spent()); and its statements until then."""

    name: str
    began: float
    ended: float
    worked_until: float
    worked_on: float
    queued_until: float
    queued_on: float
    statements: int


@dataclass(frozen=True)
class Gap:
    """Seconds between two steps: by the clock; at work; ready to work and without a processor (see spent())."""

    seconds: float
    work: float
    queued: float

    def __add__(self, other: Gap) -> Gap:
        return Gap(self.seconds + other.seconds, self.work + other.work, self.queued + other.queued)


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
            began, (worked_until, queued_until), statements = time.perf_counter(), spent(), self.statements["worker"]
            try:
                return act(context)
            finally:
                ended, (worked_on, queued_on) = time.perf_counter(), spent()
                self.calls.append(
                    Call(name, began, ended, worked_until, worked_on, queued_until, queued_on, statements)
                )

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
            "between": [asdict(gap) for gap in self.between()],
            "statements": dict(self.statements),
            "statements_between": self.calls[-1].statements - self.calls[0].statements if self.calls else 0,
        }

    def between(self) -> list[Gap]:
        """Of each step but the first: from the end of the one before it to its own, without what it did."""
        found: list[Gap] = []
        for before, call in itertools.pairwise(self.calls):
            work, waits = call.worked_until - before.worked_on, call.queued_until - before.queued_on
            gap = Gap(call.began - before.ended, work, waits)
            if call.name in ("apply", "undo"):
                found.append(gap)
            elif found:
                found[-1] += gap
        return found


def spent() -> tuple[float, float]:
    """Seconds that this thread has been at work, and that it was ready to work and had no processor; with those of the
    process that PostgreSQL has for its connection. The kernel counts them (schedstat, nanoseconds)."""
    places = [Path("/proc/thread-self/schedstat")]
    connection = connections["default"]
    if connection.vendor == "postgresql" and connection.connection is not None:
        places.append(Path(f"/proc/{connection.connection.info.backend_pid}/schedstat"))
    counts = [place.read_text().split() for place in places]
    return sum(int(work) for work, _, _ in counts) / 1e9, sum(int(queued) for _, queued, _ in counts) / 1e9
