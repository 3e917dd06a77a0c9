"""Every test in this folder cuts workers off: `make chaos` runs all, `make chaos-sample` some, `make test` none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from portal.stack import port_is_free
from tests.chaos.bed import Bed
from tests.hosts.portal import postgres
from tests.rollbacks.procedures.serving import app, release, serving

HERE = Path(__file__).parent
POSTGRESQL = "django.db.backends.postgresql"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Before the first database is made: the server itself, where DATABASE_URL names one that does not run."""
    database = settings.DATABASES["default"]
    if database["ENGINE"] == POSTGRESQL and port_is_free(int(database["PORT"])):
        with postgres(database["HOST"], str(database["PORT"])):
            yield
    else:
        yield


@pytest.fixture
def bed(
    transactional_db: None, matrix: None, checkout: Path, oncall: User, tech_lead: User, devops: User
) -> Iterator[Bed]:
    """A served system with a sound restore point, spoiled since; the database is one that other processes can share."""
    if settings.DATABASES["default"]["ENGINE"] != POSTGRESQL:
        pytest.exit("Workers that are killed share PostgreSQL: set DATABASE_URL, or run `make chaos`.", 2)
    release(checkout, app(1), "v1")
    with serving(checkout) as served:
        yield Bed(served, oncall, tech_lead)
