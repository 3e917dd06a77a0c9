"""The people of the tests, and what lets a test that commits be cleaned up after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import connection
from django.test import Client, TransactionTestCase

from portal.ledger.roles import Role
from portal.ledger.triggers import protect, unprotect

_teardown = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def protected_tables() -> list[str]:
    """The append-only tables, as the database knows them."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%no_update'")
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


def _past_the_triggers(test: Any) -> None:
    """A test that commits is cleaned up by emptying all tables, which is what the triggers are against."""
    with unprotected():
        _teardown(test)


TransactionTestCase._fixture_teardown = _past_the_triggers  # type: ignore[attr-defined]


@pytest.fixture
def forging() -> Callable[[], Any]:
    """with forging(): the append-only tables can be changed."""
    return unprotected


@pytest.fixture(autouse=True)
def _no_rate_limit_left() -> None:
    cache.clear()


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
