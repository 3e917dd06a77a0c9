from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from rollbacks import actions
from rollbacks.models import RollbackLogEntry, System
from tests.conftest import asked, manifest_text
from tests.rollbacks.commands.conftest import Give, Manage

MARKDOWN = """\
## Rollback Log

### 2025-10-28 14:30 - Code Rollback

- **Trigger**: Planner answers 500 since 1.3.0
- **Severity**: High
- **Scope**: Multiple components
- **Rollback Time**: 5 minutes
- **Downtime**: 0.4 seconds
- **Root Cause**: Under investigation
- **Prevention**: Under investigation
"""


@pytest.fixture
def entry(system: System, oncall: User) -> RollbackLogEntry:
    rollback = asked(system, oncall, reason="Planner answers 500 since 1.3.0")
    return RollbackLogEntry.write(
        rollback,
        at=datetime(2025, 10, 28, 14, 30, tzinfo=UTC),
        outcome="succeeded",
        trigger=rollback.reason,
        rollback_seconds=300.0,
        downtime_seconds=0.4,
        outage_seconds=0.3,
    )


def test_markdown_is_the_guides_format(manage: Manage, entry: RollbackLogEntry) -> None:
    said = manage("rollback_log")
    assert (said.code, said.out, said.err) == (0, MARKDOWN, "")


def test_other_formats(give: Give, entry: RollbackLogEntry) -> None:
    rows = json.loads(give("rollback_log", "--format", "json").out)
    assert [(row["id"], row["system"], row["downtime_seconds"]) for row in rows] == [(entry.rollback_id, "agents", 0.4)]
    [table] = csv.DictReader(io.StringIO(give("rollback_log", "--format", "csv").out))
    assert (table["system"], table["trigger"]) == ("agents", "Planner answers 500 since 1.3.0")
    assert give("rollback_log", "--json", "--as", "oncall").json == {"entries": rows}


def test_of_one_system(give: Give, entry: RollbackLogEntry, tmp_path: Path) -> None:
    other = manifest_text(tmp_path / "billing").replace('"agents"', '"billing"')
    actions.add_system(by=None, text=other)
    assert give("rollback_log", "--system", "agents").out == MARKDOWN
    assert give("rollback_log", "--system", "billing").out == "## Rollback Log\n"
    said = give("rollback_log", "--system", "agentss")
    assert (said.code, "There is no system 'agentss'. Did you mean agents?" in said.err) == (2, True)


def test_wrong_words(give: Give, db: None) -> None:
    assert give("rollback_log", "--format", "xml").code == 2
