from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks.log_format import NotALog, markdown, read_markdown
from rollbacks.models import ImportedLogEntry, Rollback, RollbackLogEntry, System
from tests.conftest import asked
from tests.rollbacks.commands.conftest import Give

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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "rollback-log.md"
    file.write_text(GUIDE)
    return file


def test_it_works(
    give: Give, file: Path, system: System, tech_lead: User, client_for: Callable[[User], Client]
) -> None:
    said = give("import_rollback_log", file, "--system", system.name, "--as", "techlead", "--json")
    assert (said.code, said.json) == (0, {"imported": 1, "known": 0})
    entry = ImportedLogEntry.objects.get()
    assert (entry.at, entry.title) == (datetime(2025, 10, 28, 14, 30, tzinfo=UTC), "Configuration Rollback")
    assert (entry.severity, entry.scope, entry.downtime) == ("High", "Configuration only", "3 minutes")
    assert (entry.root_cause, entry.system, entry.imported_by) == ("Manual edit error", system, tech_lead)
    assert rows_of(entry)[0].move == "import"
    assert not Rollback.objects.exists(), "what nobody planned or voted on is no rollback of the portal's"
    client = client_for(tech_lead)
    assert "/log/imported/" in client.get("/log/").content.decode()
    assert "Add JSON validation to CI/CD" in client.get("/log/imported/").content.decode()
    assert client.post("/log/imported/").status_code == 405


def test_the_same_entry_is_taken_once(give: Give, file: Path, tech_lead: User) -> None:
    give("import_rollback_log", file, "--as", "techlead")
    file.write_text(f"{GUIDE}\n### 2025-11-01 09:00 - Code Rollback\n\n- **Trigger**: 500\n")
    said = give("import_rollback_log", file, "--as", "techlead", "--json")
    assert said.json == {"imported": 1, "known": 1}
    assert ImportedLogEntry.objects.count() == 2


def test_what_the_portal_writes_it_reads(system: System, oncall: User) -> None:
    written = RollbackLogEntry.write(
        asked(system, oncall), outcome="succeeded", trigger="500\nsince 2", rollback_seconds=300.0
    )
    (read,) = read_markdown(markdown([written]))
    assert (read.title, read.trigger, read.rollback_time) == ("Code Rollback", "500 since 2", "5 minutes")


def test_stranger(give: Give, file: Path, oncall: User) -> None:
    said = give("import_rollback_log", file, "--as", "oncall")
    assert said.code == 1
    assert "this needs one of the roles" in said.err
    assert not ImportedLogEntry.objects.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Notes\nnothing", "line 2: before the first entry"),
        ("### 2025-13-28 14:30 - X", "there is no such time as 2025-13-28 14:30"),
        (f"### 2025-10-28 14:30 - {'x' * 201}", "at most 200 are kept"),
        ("### 2025-10-28 14:30 - X\n- **Colour**: red", "line 2 is no line of the guide's format"),
        ("### yesterday - X", "line 1: before the first entry"),
    ],
)
def test_bad_input_imports_nothing_and_names_the_line(
    give: Give, file: Path, tech_lead: User, text: str, said: str
) -> None:
    with pytest.raises(NotALog, match=said.replace("(", r"\(")):
        read_markdown(text)
    file.write_text(f"{GUIDE}\n{text}")
    if "before the first entry" not in said:
        answer = give("import_rollback_log", file, "--as", "techlead")
        assert answer.code == 2
        assert "Nothing was imported" in answer.err
        assert not ImportedLogEntry.objects.exists()


def test_a_file_that_is_not_there(give: Give, tmp_path: Path, tech_lead: User) -> None:
    said = give("import_rollback_log", tmp_path / "none.md", "--as", "techlead")
    assert said.code == 2
    assert "cannot be read" in said.err


def test_script_in_a_log_is_shown_as_written(
    give: Give, file: Path, tech_lead: User, client_for: Callable[[User], Client]
) -> None:
    file.write_text("### 2025-10-28 14:30 - <script>alert(1)</script>\n- **Trigger**: <img onerror=x>\n")
    give("import_rollback_log", file, "--as", "techlead")
    shown = client_for(tech_lead).get("/log/imported/").content.decode()
    assert "<script>alert" not in shown
    assert "&lt;script&gt;" in shown
