"""What a benchmark found: as a table on the terminal, and as a section of docs/benchmarks.md.

Each benchmark writes its own section; the others stay as they were, each with the date and the machine it ran on.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
SECTIONS = [
    "The outage",
    "The procedures",
    "The engine",
    "Fifty at the same time",
    "The pages",
    "The arrivals",
    "The messages",
    "The takeover",
    "The backup",
    "The large repository",
]  # in this order on the page
HEAD = """\
# Measured

`make bench` measures these and writes this page. Numbers are of one machine: compare them within one section, where
all were taken in one run, and with your own.
"""


def percentile(numbers: Sequence[float], percent: float) -> float:
    """The smallest number that at least so many percent of them do not exceed."""
    ordered = sorted(numbers)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]


def middle(numbers: Sequence[float]) -> float:
    return statistics.median(numbers)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table that is a table on a terminal as well: all columns are as wide as their widest word."""
    lines = [[str(cell) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def machine(*more: str) -> str:
    """Where it ran, in words."""
    cores = len(os.sched_getaffinity(0))
    words = [f"{cores} core{'s' if cores > 1 else ''}", f"Python {platform.python_version()}", *more]
    return ", ".join(words)


def sqlite() -> str:
    return f"SQLite {sqlite3.sqlite_version}"


def tell(title: str, text: str, *, where: str) -> None:
    """Print a section, and keep it in docs/benchmarks.md in the place of the one that was there."""
    assert title in SECTIONS
    body = f"{text.strip()}\n\n{datetime.now(UTC):%d %B %Y}, {where}.\n"
    print(f"\n\n{title}\n\n{body}")
    kept = sections(PAGE.read_text()) if PAGE.exists() else {}
    kept[title] = body
    PAGE.parent.mkdir(exist_ok=True)
    made = PAGE.with_suffix(".new")
    made.write_text("\n".join([HEAD, *(f"## {name}\n\n{kept[name]}" for name in SECTIONS if name in kept)]))
    made.replace(PAGE)


def sections(text: str) -> dict[str, str]:
    """The sections of the page by their titles."""
    parts = re.split(r"^## (.+)\n+", text, flags=re.MULTILINE)[1:]
    return {title: f"{body.strip()}\n" for title, body in zip(parts[::2], parts[1::2], strict=True)}
