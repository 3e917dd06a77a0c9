"""Real hosts, on a bridge of this machine: `make hosts`. This machine has PostgreSQL, broker, watcher and scheduler;
each host has a worker of its own and the systems that it looks after.

What a test here can have:

- `portal`: this machine's side, in this process: portal.manage("rollback", …) gives a command as a person would.
- `host`: a host of the module's own, with the portal's worker on it.
- `agents`: a system on it: the portal knows it, the worker may restart its unit; release 1.2.0 runs, until break_it().
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from tests.hosts.host import Host
from tests.hosts.layer import portal_layer
from tests.hosts.managed import Managed
from tests.hosts.portal import Portal, postgres, redis, watcher_and_scheduler

HERE = Path(__file__).parent
HURRY = {"LEASE_SECONDS": "3", "SWEEP_SECONDS": "1", "HEALTH_SECONDS": "0.5"}
NUMBERS = itertools.count(1)


class MakeHost(Protocol):
    def __call__(self, name: str, *, worker: bool = True) -> Host: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            matrix = item.get_closest_marker("chaos") is not None  # hours: it is not one of `make hosts`
            item.add_marker(pytest.mark.real_broker)
            item.add_marker(pytest.mark.timeout(0) if matrix else pytest.mark.timeout(300, func_only=True))
            if not matrix:
                item.add_marker(pytest.mark.hosts)


@pytest.fixture(scope="session")
def bridge() -> Iterator[str]:
    """The address at which hosts reach this machine. A host that never runs keeps it, also between two others."""
    keeper = Host("keeper")
    keeper.create()
    yield f"{keeper.address.rpartition('.')[0]}.1"
    keeper.destroy()


@pytest.fixture(scope="session")
def portal(bridge: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Portal]:
    """The portal of this process's settings, which name the bridge."""
    database, broker = settings.DATABASES["default"], urlsplit(settings.REDIS_URL)
    if {database.get("HOST"), broker.hostname} != {bridge}:
        pytest.exit(f"These tests need DATABASE_URL and REDIS_URL on {bridge}: run them by `make hosts`.", 2)
    with postgres(bridge, str(database["PORT"])), redis(bridge, str(broker.port)), django_db_blocker.unblock():
        call_command("migrate", verbosity=0, interactive=False)
        with watcher_and_scheduler(HURRY):
            portal = Portal()
            portal.manage("seed", "--demo")
            yield portal
        connections.close_all()


@pytest.fixture(scope="session")
def layer(bridge: str) -> Path:
    return portal_layer()


@pytest.fixture(scope="module")
def make_host(portal: Portal, layer: Path) -> Iterator[MakeHost]:
    """A host by name, with the portal on it, and a worker; all are gone at the module's end."""
    made: list[Host] = []

    def make(name: str, *, worker: bool = True) -> Host:
        made.append(Host(name, layer))
        made[-1].create()
        made[-1].start()
        made[-1].install_portal({"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL, **HURRY})
        if worker:
            made[-1].start_worker()
        return made[-1]

    yield make
    for host in made:
        host.destroy()


@pytest.fixture(scope="module")
def host(make_host: MakeHost) -> Host:
    return make_host("alpha")


@pytest.fixture(scope="module")
def agents_of_module(portal: Portal, host: Host) -> Managed:
    number = next(NUMBERS)
    managed = Managed(host, f"agents-{number}", 8100 + number)
    managed.lay_out()
    portal.add(managed)
    return managed


@pytest.fixture
def agents(agents_of_module: Managed) -> Managed:
    """Whatever the test before has left of the host: it and its worker run, and the unit is as it was."""
    agents_of_module.host.start()
    agents_of_module.host.start_worker()
    agents_of_module.forget_unit_changes()
    return agents_of_module


def database_url() -> str:
    known = settings.DATABASES["default"]
    return f"postgres://{known['USER']}@{known['HOST']}:{known['PORT']}/{known['NAME']}"
