"""The rollback log as text: Markdown in the guide's own format (section "Rollback Logging"), JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable

from rollbacks.models import RollbackLogEntry

FIELDS = (
    "id", "at", "title", "system", "state", "outcome", "trigger", "severity", "scope", "rollback_seconds",
    "downtime_seconds", "outage_seconds", "root_cause", "prevention",
)  # fmt: skip


def markdown(entries: Iterable[RollbackLogEntry]) -> str:
    return "\n".join(["## Rollback Log\n", *(one_markdown(entry) for entry in entries)])


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
    return json.dumps([row(entry) for entry in entries], indent=1, ensure_ascii=False) + "\n"


def as_csv(entries: Iterable[RollbackLogEntry]) -> str:
    """A cell that a spreadsheet would take for a formula gets a quote before it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow({name: harmless(value) for name, value in row(entry).items()})
    return out.getvalue()


def harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r\n")) else value


FORMATS: dict[str, tuple[str, Callable[[Iterable[RollbackLogEntry]], str]]] = {
    "markdown": ("text/markdown; charset=utf-8", markdown),
    "json": ("application/json", as_json),
    "csv": ("text/csv; charset=utf-8", as_csv),
}
