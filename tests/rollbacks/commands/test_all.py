"""What all commands have in common (DESIGN 8): whose word counts, the exit codes, the last line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from rollbacks.models import Approval, RestorePoint, Rollback, System
from tests.conftest import again, manifest_text
from tests.rollbacks.commands.conftest import NOBODY, ROOT, Give

ASK = ["--to", "v1", "--severity", "high", "--scope", "multiple", "--reason", "500 since 2"]


@pytest.fixture
def words(planned: Rollback, tmp_path: Path) -> dict[str, list[object]]:
    """Each command as it would work, but for who gives it."""
    file = tmp_path / "system.toml"
    file.write_text(manifest_text(tmp_path / "agents", test="false"))
    return {
        "add_system": [file],
        "backup": ["agents"],
        "rollback": ["agents", *ASK],
        "approve": [planned.pk],
        "reject": [planned.pk, "--reason", "Not now"],
        "rollback_log": [],
    }


def test_an_unknown_person_is_wrong_words_and_near_names_are_offered(
    give: Give, words: dict[str, list[object]], planned: Rollback, tech_lead: User
) -> None:
    before = System.objects.get().manifest_text
    for command in words:
        said = give(command, *words[command], "--as", "techleed")
        assert said.code == 2, command
        assert "There is no active user 'techleed': name one with --as. There is techlead" in said.err
    assert again(planned).state == "awaiting_approval"
    assert Rollback.objects.count() == 1
    assert not RestorePoint.objects.exists()
    assert System.objects.get().manifest_text == before


def test_without_as_it_is_whoever_is_signed_in_on_the_host(
    give: Give, planned: Rollback, tech_lead: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "techlead")
    assert give("approve", planned.pk).code == 0
    assert Approval.objects.get().voter == tech_lead


def test_a_person_who_was_switched_off_is_nobody(give: Give, planned: Rollback, tech_lead: User) -> None:
    User.objects.filter(pk=tech_lead.pk).update(is_active=False)
    said = give("approve", planned.pk, "--as", "techlead")
    assert (said.code, "There is no active user 'techlead'" in said.err) == (2, True)
    assert again(planned).state == "awaiting_approval"


def test_who_may_not_is_told_why_in_both_ways(
    give: Give, words: dict[str, list[object]], planned: Rollback, auditor: User
) -> None:
    for command in ("add_system", "backup", "rollback", "approve", "reject"):
        said = give(command, *words[command], "--as", "auditor", "--json")
        assert said.code == 1, command
        assert "Claire Dubois cannot" in said.err
        assert "and you are Auditor" in said.err
        assert "and you are Auditor" in said.json["trouble"]
    assert again(planned).state == "awaiting_approval"
    assert Rollback.objects.count() == 1
    assert not RestorePoint.objects.exists()


def test_a_refused_vote_says_where_the_rollback_is_and_not_that_it_was_refused(
    give: Give, planned: Rollback, oncall: User
) -> None:
    """`refused` is a state of a rollback: a script must not read it where only a vote was refused."""
    said = give("approve", planned.pk, "--as", "oncall", "--json")
    assert said.code == 1
    known = {name: said.json[name] for name in ("id", "state", "system", "downtime_seconds")}
    assert known == {"id": planned.pk, "state": "awaiting_approval", "system": "agents", "downtime_seconds": None}


def test_an_unknown_system_is_wrong_words_and_near_names_are_offered(give: Give, system: System) -> None:
    for command in ("backup", "rollback"):
        said = give(command, "agentz", "--as", "nobody")
        assert (said.code, "There is no system 'agentz'. Did you mean agents?" in said.err) == (2, True)
    System.objects.all().delete()
    assert "There is no system yet: add one with add_system." in give("backup", "agentz").err


def test_an_unknown_rollback_is_wrong_words(give: Give, rollback: Rollback) -> None:
    for command, reason in (("approve", []), ("reject", ["--reason", "x"]), ("carry", [])):
        said = give(command, 999, *reason)
        assert said.code == 2, command
        assert f"There is no rollback 999. The newest is {rollback.pk}." in said.err
        assert give(command, "seven", *reason).code == 2
        assert give(command).code == 2


def test_a_database_that_is_not_prepared_is_said_with_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3", "PORTAL_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "manage.py", "backup", "agents", "--as", "oncall"],
        cwd=ROOT,
        env={**environment, "REDIS_URL": NOBODY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "`python manage.py migrate`" in ended.stderr
    assert "Traceback" not in ended.stderr
