"""A worker that can be cut off: a process of its own that carries a run as the pool's child does, and is killed with
-9 at a boundary of its steps, or at an instant. (Celery around it is killed in tests/processes.)"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connections

from rollbacks import runner

TRIES = 12  # successors, before a run counts as stuck


@dataclass(frozen=True)
class Cut:
    """Where the worker dies. `kind`: before or after a step or an undo, or at an instant; never, when it is ""."""

    kind: str
    step: str = ""
    at: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.step or f'{self.at:.3f} s'}"


NEVER = Cut("")


def begin(run: int, cut: Cut = NEVER) -> int:
    """Its pid."""
    connections.close_all()  # no two processes on one connection
    if pid := os.fork():
        return pid
    code = 1
    try:
        arm(lambda: cut, fall)
        runner.carry(run)
        code = 0
    except BaseException:
        logging.getLogger(__name__).exception("a worker of run %s", run)
    finally:
        os._exit(code)


def arm(cut: Callable[[], Cut], strike: Callable[[], object]) -> None:
    """At a boundary the worker is struck by its own hand: nobody else would hit it exactly."""
    runner.attempt = struck(runner.attempt, "", cut, strike)
    runner.attempt_undo = struck(runner.attempt_undo, " the undo", cut, strike)


def struck(real: Callable[..., Any], of: str, cut: Callable[[], Cut], strike: Callable[[], object]) -> Any:
    def attempt(mine: Any, run: Any, step: Any, *words: Any) -> Any:
        if cut() == Cut(f"before{of}", step.name):
            strike()
        done = real(mine, run, step, *words)
        if cut() == Cut(f"after{of}", step.name):
            strike()
        return done

    return attempt


def fall() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def carry(run: int, cut: Cut = NEVER) -> float:
    """One worker that is cut off, then as many as it takes: seconds from the blow to the end, 0 if it came too late."""
    began = time.monotonic()
    pid = begin(run, cut)
    if cut.at:
        time.sleep(cut.at)  # the instant is the case; nothing is waited for
        os.kill(pid, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    blow = time.monotonic()
    for _ in range(TRIES):
        if not any(each.pk == run for each in runner.due()):
            break
        os.waitpid(begin(run), 0)
    else:
        raise AssertionError(f"nobody brought it to an end in {TRIES} tries, {time.monotonic() - began:.0f} s")
    return time.monotonic() - blow if killed else 0.0
