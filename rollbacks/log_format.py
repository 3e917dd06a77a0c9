"""The rollback log as text: Markdown in the guide's own format (section "Rollback Logging"), JSON, CSV.

Each is written piece by piece, an entry at a time: a log of many years need not fit into memory.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from rollbacks.models import ImportedLogEntry, RollbackLogEntry

FIELDS = (
    "id", "at", "title", "system", "state", "outcome", "trigger", "severity", "scope", "rollback_seconds",
    "downtime_seconds", "outage_seconds", "root_cause", "prevention",
)  # fmt: skip


def markdown(entries: Iterable[RollbackLogEntry]) -> str:
    return "".join(write_markdown(entries))


def write_markdown(entries: Iterable[RollbackLogEntry]) -> Iterator[str]:
    yield "## Rollback Log\n"
    for entry in entries:
        yield f"\n{one_markdown(entry)}"


def one_markdown(entry: RollbackLogEntry) -> str:
    rollback = entry.rollback
    lines = {
        "Trigger": entry.trigger,
        "Severity": rollback.get_severity_display(),
        "Scope": rollback.get_scope_display(),
        "Rollback Time": in_words(entry.rollback_seconds),
        "Downtime": in_words(entry.downtime_seconds),
        "Root Cause": entry.root_cause,
        "Prevention": entry.prevention,
    }
    body = "".join(f"- **{name}**: {' '.join(value.split())}\n" for name, value in lines.items())
    return f"### {entry.at:%Y-%m-%d %H:%M} - {entry.title}\n\n{body}"


HEAD = re.compile(r"### (\d{4}-\d{2}-\d{2} \d{2}:\d{2}) - (.+)")
LINE = re.compile(r"- \*\*(.+?)\*\*: ?(.*)")
WRITTEN = {
    "Trigger": "trigger",
    "Severity": "severity",
    "Scope": "scope",
    "Rollback Time": "rollback_time",
    "Downtime": "downtime",
    "Root Cause": "root_cause",
    "Prevention": "prevention",
}


class NotALog(Exception):
    """The text is not in the guide's format; the message names the line."""


def read_markdown(text: str) -> list[ImportedLogEntry]:
    """The entries of a log in the guide's format, as they stand there, unsaved. Raises NotALog."""
    found: list[ImportedLogEntry] = []
    last = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.rstrip()
        if head := HEAD.fullmatch(line):
            found.append(ImportedLogEntry(at=read_time(head[1], number), title=fitting("title", head[2], number)))
            last = ""
        elif not line or line.startswith(("# ", "## ", "```")):
            continue
        elif not found:
            raise NotALog(f"line {number}: before the first entry, which begins with ### YYYY-MM-DD HH:MM - Title")
        elif (field := LINE.fullmatch(line)) and field[1] in WRITTEN:
            last = WRITTEN[field[1]]
            setattr(found[-1], last, fitting(last, field[2], number))
        elif line.startswith(" ") and last:  # a line that goes on below its field
            setattr(found[-1], last, fitting(last, f"{getattr(found[-1], last)} {line.strip()}", number))
        else:
            raise NotALog(f"line {number} is no line of the guide's format: {line[:60]!r}")
    return found


def read_time(written: str, number: int) -> datetime:
    try:
        return datetime.strptime(written, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise NotALog(f"line {number}: there is no such time as {written}") from None


def fitting(field: str, words: str, number: int) -> str:
    longest = getattr(ImportedLogEntry._meta.get_field(field), "max_length", None)
    if longest and len(words) > longest:
        raise NotALog(f"line {number}: {len(words)} characters, and at most {longest} are kept there")
    return words.replace("\x00", "")


def in_words(seconds: float | None) -> str:
    """ "0.4 seconds", "1 minute", "3.5 minutes"; "not measured" for None."""
    if seconds is None:
        return "not measured"
    value, unit = (seconds, "second") if seconds < 59.95 else (seconds / 60, "minute")
    text = f"{value:.1f}".removesuffix(".0")
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"


def row(entry: RollbackLogEntry) -> dict[str, object]:
    rollback = entry.rollback
    known = {
        "id": rollback.pk,
        "at": entry.at.isoformat(),
        "title": entry.title,
        "system": rollback.system.name,
        "state": rollback.state,
        "severity": rollback.severity,
        "scope": rollback.scope,
    }
    return {name: known[name] if name in known else getattr(entry, name) for name in FIELDS}


def as_json(entries: Iterable[RollbackLogEntry]) -> str:
    return "".join(write_json(entries))


def write_json(entries: Iterable[RollbackLogEntry]) -> Iterator[str]:
    """As json.dumps would write the list."""
    before, after = "[", "[]\n"
    for entry in entries:
        yield before + f"\n{json.dumps(row(entry), indent=1, ensure_ascii=False)}".replace("\n", "\n ")
        before, after = ",", "\n]\n"
    yield after


def as_csv(entries: Iterable[RollbackLogEntry]) -> str:
    return "".join(write_csv(entries))


def write_csv(entries: Iterable[RollbackLogEntry]) -> Iterator[str]:
    """A cell that a spreadsheet would take for a formula gets a quote before it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow({name: harmless(value) for name, value in row(entry).items()})
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r\n")) else value


FORMATS: dict[str, tuple[str, Callable[[Iterable[RollbackLogEntry]], Iterator[str]]]] = {
    "markdown": ("text/markdown; charset=utf-8", write_markdown),
    "json": ("application/json", write_json),
    "csv": ("text/csv; charset=utf-8", write_csv),
}
