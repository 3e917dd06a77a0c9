"""The log as text: Markdown is the guide's own format, byte for byte."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User

from rollbacks.log_format import as_csv, as_json, in_words, markdown
from rollbacks.models import Rollback, RollbackLogEntry, System
from tests.conftest import asked

AT = datetime(2025, 10, 28, 14, 30, 59, tzinfo=UTC)

# The guide, section "Rollback Logging", as it stands there.
GUIDE = """\
## Rollback Log

### 2025-10-28 14:30 - Configuration Rollback

- **Trigger**: Invalid JSON in agents.config.json
- **Severity**: High
- **Scope**: Configuration only
- **Rollback Time**: 5 minutes
- **Downtime**: 3 minutes
- **Root Cause**: Manual edit error
- **Prevention**: Add JSON validation to CI/CD
"""


def entry(rollback: Rollback, **changes: object) -> RollbackLogEntry:
    words = {
        "at": AT,
        "outcome": "succeeded",
        "trigger": "Invalid JSON in agents.config.json",
        "rollback_seconds": 300.0,
        "downtime_seconds": 180.0,
        "outage_seconds": 0.36,
        "root_cause": "Manual edit error",
        "prevention": "Add JSON validation to CI/CD",
    }
    return RollbackLogEntry.write(rollback, **{**words, **changes})


@pytest.fixture
def example(system: System, oncall: User) -> Rollback:
    rollback = asked(system, oncall, severity="high", scope="config")
    Rollback.objects.filter(pk=rollback.pk).update(procedure="config")
    return Rollback.objects.get(pk=rollback.pk)


def test_markdown_is_the_guides_format(example: Rollback) -> None:
    assert markdown([entry(example)]) == GUIDE


def test_entries_are_apart_by_one_empty_line(example: Rollback, system: System, oncall: User) -> None:
    second = entry(asked(system, oncall), trigger="Agents answer 500", downtime_seconds=None)
    text = markdown([entry(example), second])
    assert text.startswith(GUIDE + "\n### 2025-10-28 14:30 - Code Rollback\n\n- **Trigger**: Agents answer 500\n")
    assert "- **Downtime**: not measured\n" in text


def test_a_line_stays_a_line(example: Rollback) -> None:
    """What somebody typed cannot add headings or bullets of its own."""
    text = markdown([entry(example, trigger="One\n\n### 2025-01-01 00:00 - Forged\r\n- **Severity**: Low")])
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## Rollback Log",
        "### 2025-10-28 14:30 - Configuration Rollback",
    ]
    assert text.count("\n- **Severity**") == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "not measured"),
        (0.0, "0 seconds"),
        (0.36, "0.4 seconds"),
        (1.0, "1 second"),
        (42.0, "42 seconds"),
        (59.96, "1 minute"),
        (60.0, "1 minute"),
        (90.0, "1.5 minutes"),
        (300.0, "5 minutes"),
    ],
)
def test_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_spreadsheet_finds_no_formula(example: Rollback, start: str) -> None:
    evil = f'{start}HYPERLINK("http://evil.example","click")'
    text = as_csv([entry(example, trigger=evil, root_cause=evil)])
    row = next(csv.DictReader(io.StringIO(text)))
    assert row["trigger"] == f"'{evil}"
    assert row["root_cause"] == f"'{evil}"


def test_csv(example: Rollback) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([entry(example, downtime_seconds=None)]))))
    assert rows == [
        {
            "id": str(example.pk),
            "at": "2025-10-28T14:30:59+00:00",
            "title": "Configuration Rollback",
            "system": "agents",
            "state": "planning",
            "outcome": "succeeded",
            "trigger": "Invalid JSON in agents.config.json",
            "severity": "high",
            "scope": "config",
            "rollback_seconds": "300.0",
            "downtime_seconds": "",
            "outage_seconds": "0.36",
            "root_cause": "Manual edit error",
            "prevention": "Add JSON validation to CI/CD",
        }
    ]


def test_json(example: Rollback) -> None:
    (row,) = json.loads(as_json([entry(example, trigger="„Änderung“ \n=1+1")]))
    assert row["trigger"] == "„Änderung“ \n=1+1", "JSON needs no quoting against spreadsheets"
    assert (row["id"], row["rollback_seconds"], row["at"]) == (example.pk, 300.0, "2025-10-28T14:30:59+00:00")
    assert as_json([]) == "[]\n"


def test_times_are_utc(example: Rollback) -> None:
    written = entry(example, at=datetime.fromisoformat("2025-10-28T09:30:00-05:00"))
    assert "### 2025-10-28 14:30 - " in markdown([RollbackLogEntry.objects.get(pk=written.pk)])
