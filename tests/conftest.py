"""The people, the system and the clock that all tests share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management.commands import flush
from django.db import connections
from django.test import Client

from incidents import actions as incidents
from incidents.models import Incident
from portal.ledger.roles import Role
from portal.ledger.triggers import protect, unprotect
from rollbacks import actions, runner
from rollbacks.models import Rollback, System

APPEND_ONLY = ("ledger_ledger", "rollbacks_approval")


@pytest.fixture(autouse=True, scope="session")
def _flush_past_the_triggers() -> Iterator[None]:
    """A transaction=True test ends with a flush: the only thing that may empty an append-only table."""
    real = flush.Command.handle

    def handle(self: flush.Command, **options: Any) -> None:
        connection = connections[options["database"]]
        for table in APPEND_ONLY:
            unprotect(connection, table)
        real(self, **options)
        for table in APPEND_ONLY:
            protect(connection, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush.Command, "handle", handle)
        yield


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Hints go nowhere: a test calls the runner itself. Tests with real workers are separate processes."""
    if "real_broker" not in request.keywords:
        monkeypatch.setattr("rollbacks.tasks.send", lambda *args, **kwargs: True)


# --- people ---------------------------------------------------------------------------------------------------------


def person(username: str, role: Role | None) -> User:
    user = User.objects.create_user(username, f"{username}@example.org", "password", first_name=username.title())
    if role is not None:
        user.groups.add(Group.objects.get_or_create(name=role.value)[0])
    return User.objects.get(pk=user.pk)


@pytest.fixture
def oncall(db: None) -> User:
    return person("oncall", Role.ON_CALL)


@pytest.fixture
def oncall2(db: None) -> User:
    return person("oncall2", Role.ON_CALL)


@pytest.fixture
def tech_lead(db: None) -> User:
    return person("techlead", Role.TECH_LEAD)


@pytest.fixture
def tech_lead2(db: None) -> User:
    return person("techlead2", Role.TECH_LEAD)


@pytest.fixture
def engineer(db: None) -> User:
    return person("engineer", Role.ENGINEER)


@pytest.fixture
def devops(db: None) -> User:
    return person("devops", Role.DEVOPS)


@pytest.fixture
def manager(db: None) -> User:
    return person("manager", Role.MANAGER)


@pytest.fixture
def auditor(db: None) -> User:
    return person("auditor", Role.AUDITOR)


@pytest.fixture
def stranger(db: None) -> User:
    """An account without a role."""
    return person("stranger", None)


@pytest.fixture
def as_user() -> Callable[[User], Client]:
    def signed_in(user: User) -> Client:
        client = Client()
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return client

    return signed_in


# --- a system -------------------------------------------------------------------------------------------------------


def git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, message: str, **contents: str) -> str:
    """Write files (`config__agents_json` is config/agents.json) and commit them."""
    for name, content in contents.items():
        folder, _, base = name.rpartition("__")
        path = root / folder / ".".join(base.rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a good release (tag v1), and a bad one on top, checked out."""
    root = tmp_path / "agents"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "Dev")
    git(root, "config", "user.email", "dev@example.org")
    (root / ".gitignore").write_text(".venv\nlogs\nartifacts\n.env\n")
    commit(root, "Release 1", app_py="VERSION = 1\n", config__agents_json=json.dumps({"model": "small", "api_key": "k1"}))
    git(root, "tag", "v1")
    commit(root, "Break it", app_py="VERSION = 2\nBROKEN = True\n")
    (root / "logs").mkdir()
    (root / "artifacts").mkdir()
    (root / "artifacts" / "history.txt").write_text("one\n")
    (root / ".env").write_text("API_TOKEN=super-secret-token\n")
    return root


MANIFEST = """
[system]
name = "agents"
root = "{root}"
backups = "{backups}"
config = ["config/agents.json"]
secrets = [".env"]
artifacts = ["artifacts"]
logs = ["logs"]

[commands]
test = "{test}"
"""


def manifest_text(root: Path, test: str = "true") -> str:
    return MANIFEST.format(root=root, backups=root.parent / "backups", test=test)


@pytest.fixture
def matrix(db: None) -> None:
    actions.seed_matrix()


@pytest.fixture
def system(matrix: None, checkout: Path) -> System:
    """A system without a service and without requirements: its rollbacks take milliseconds, on a real repository."""
    return actions.add_system(by=None, text=manifest_text(checkout))[0]


@pytest.fixture
def incident(system: System, oncall: User) -> Incident:
    incident = incidents.declare(by=oncall, title="Agents answer 500", severity="high", scope="multiple")
    system.incidents.add(incident)
    return incident


def asked(system: System, by: User, **changes: Any) -> Rollback:
    """A rollback that somebody has asked for."""
    words = {"procedure": "code", "target": "v1", "severity": "high", "scope": "multiple", "reason": "500 since 2"}
    return actions.request(system=system, by=by, **{**words, **changes})  # type: ignore[arg-type]


def again(rollback: Rollback) -> Rollback:
    """The row as it is now (refresh_from_db is unsafe on a protected field)."""
    return Rollback.objects.get(pk=rollback.pk)


@pytest.fixture
def rollback(system: System, incident: Incident, oncall: User) -> Rollback:
    """Asked for by `oncall`, still planning."""
    return asked(system, oncall, incident=incident)


@pytest.fixture
def planned(rollback: Rollback, transactional_db: None) -> Rollback:
    """Planned by the runner, waiting for approval."""
    runner.carry(rollback.run.pk)
    return again(rollback)


@pytest.fixture
def approved(planned: Rollback, tech_lead: User) -> Rollback:
    return again(actions.approve(planned.pk, by=tech_lead))
