"""The people and the system of the tests, and what lets a test that commits be cleaned up after."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import connection
from django.test import Client, TransactionTestCase

from incidents import actions as incidents
from incidents import postmortems, tasks
from incidents.models import Incident, PostMortem
from portal.ledger.roles import Role
from portal.ledger.triggers import protect, unprotect
from rollbacks import actions, runner
from rollbacks.models import Rollback, System

settings.WHITENOISE_AUTOREFRESH = True  # else each test's client looks through all static files first
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one takes half a second each


def protected_tables() -> list[str]:
    """The append-only tables, as the database knows them."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%no_update'"
            )
        else:
            cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%append_only'")
        return [str(row[0]) for row in cursor.fetchall()]


@contextmanager
def unprotected() -> Iterator[None]:
    """For the end of a test, and for a test that forges: the tables take any change inside, none afterwards."""
    tables = protected_tables()
    for table in tables:
        unprotect(connection, table)
    try:
        yield
    finally:
        for table in tables:
            protect(connection, table)


def _empty_what_was_filled(test: TransactionTestCase) -> None:
    """A test that commits is cleaned up by emptying all tables, which is what the triggers are against. Django's flush
    would empty those that are empty, too, and make every permission again: a fifth of such a test's time."""
    kept = {"django_migrations", "django_content_type", "auth_permission"}
    tables = [name for name in connection.introspection.django_table_names(only_existing=True) if name not in kept]
    asked = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables)  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(asked)
        filled = [name for (name,) in cursor.fetchall()]
    with unprotected(), connection.constraint_checks_disabled(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")
        for name in filled:
            cursor.execute(f"DELETE FROM {name}")  # noqa: S608
        if connection.vendor == "postgresql":
            cursor.execute("RESET session_replication_role")


TransactionTestCase._fixture_teardown = _empty_what_was_filled  # type: ignore[attr-defined]


@pytest.fixture
def forging() -> Callable[[], Any]:
    """with forging(): the append-only tables can be changed."""
    return unprotected


@pytest.fixture(autouse=True)
def _no_rate_limit_left() -> None:
    cache.clear()


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Hints go nowhere: a test calls the runner itself. Tests with real workers are separate processes."""
    monkeypatch.setitem(tasks.silent, "until", 0.0)
    if "real_broker" not in request.keywords:
        monkeypatch.setattr("rollbacks.tasks.send", lambda *args, **kwargs: True)
        monkeypatch.setattr("incidents.tasks.send", lambda *args, **kwargs: True)


# --- people ---------------------------------------------------------------------------------------------------------


def person(username: str, name: str, *roles: Role) -> User:
    first, last = name.split()
    user = User.objects.create_user(username, f"{username}@example.org", first_name=first, last_name=last)
    user.groups.set([Group.objects.get_or_create(name=role.value)[0] for role in roles])
    return user


@pytest.fixture
def oncall(db: None) -> User:
    return person("oncall", "Amara Okafor", Role.ON_CALL)


@pytest.fixture
def oncall2(db: None) -> User:
    return person("oncall2", "Jonas Berg", Role.ON_CALL)


@pytest.fixture
def tech_lead(db: None) -> User:
    return person("techlead", "Henrik Lindqvist", Role.TECH_LEAD)


@pytest.fixture
def tech_lead2(db: None) -> User:
    return person("techlead2", "Salma Haddad", Role.TECH_LEAD)


@pytest.fixture
def engineer(db: None) -> User:
    return person("engineer", "Mei Tanaka", Role.ENGINEER)


@pytest.fixture
def devops(db: None) -> User:
    return person("devops", "Diego Ferreira", Role.DEVOPS)


@pytest.fixture
def manager(db: None) -> User:
    return person("manager", "Priya Raman", Role.MANAGER)


@pytest.fixture
def auditor(db: None) -> User:
    return person("auditor", "Claire Dubois", Role.AUDITOR)


@pytest.fixture
def stranger(db: None) -> User:
    return person("stranger", "Sam Nobody")


@pytest.fixture
def client_for() -> Callable[[User], Client]:
    """A browser in which this person is signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def as_user(client_for: Callable[[User], Client]) -> Callable[[User], Client]:
    return client_for


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


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a good release (tag v1), and a bad one on top, checked out."""
    root = tmp_path_factory.mktemp("laid-out") / "agents"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "Dev")
    git(root, "config", "user.email", "dev@example.org")
    (root / ".gitignore").write_text(".venv\nlogs\nartifacts\n.env\n")
    commit(
        root, "Release 1", app_py="VERSION = 1\n", config__agents_json=json.dumps({"model": "small", "api_key": "k1"})
    )
    git(root, "tag", "v1")
    commit(root, "Break it", app_py="VERSION = 2\nBROKEN = True\n")
    (root / "logs").mkdir()
    (root / "artifacts").mkdir()
    (root / "artifacts" / "history.txt").write_text("one\n")
    (root / ".env").write_text("API_TOKEN=super-secret-token\n")
    return root


@pytest.fixture
def checkout(laid_out: Path, tmp_path: Path) -> Path:
    """A copy of its own: a test may do with it what it likes."""
    root = shutil.copytree(laid_out, tmp_path / "agents", symlinks=True)
    git(root, "update-index", "-q", "--refresh")
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


def look_back(incident: Incident, author: User, reader: User) -> PostMortem:
    """A published post-mortem: without one an incident of High is not closed."""
    postmortem = postmortems.begin(incident.pk, by=author)
    section = postmortem.sections.get(key="summary")
    postmortems.write(section.pk, by=author, body="A bad release answered 500.", version=0)
    postmortems.submit(postmortem.pk, by=author)
    return postmortems.publish(postmortem.pk, by=reader)


def asked(system: System, by: User, **changes: Any) -> Rollback:
    """A rollback that somebody has asked for."""
    words = {"procedure": "code", "target": "v1", "severity": "high", "scope": "multiple", "reason": "500 since 2"}
    return actions.request(system=system, by=by, **{**words, **changes})


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
