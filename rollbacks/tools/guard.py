"""May we still? The tools ask before each thing that they do to a host; the runner says who answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

answerer: ContextVar[Callable[[], None]] = ContextVar("answerer", default=lambda: None)


@contextmanager
def asking(may_we: Callable[[], None]) -> Iterator[None]:
    """Inside, in this thread, every tool asks `may_we` first, and does nothing when that raises."""
    before = answerer.set(may_we)
    try:
        yield
    finally:
        answerer.reset(before)


def ask() -> None:
    answerer.get()()
