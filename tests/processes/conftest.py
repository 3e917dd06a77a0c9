"""The whole portal as `make up` starts it, in a folder of its own, to be hit. Marked `processes`: run by
`make processes` and .ci/run. DATABASE_URL and REDIS_URL of the environment count, where they are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.portal import Portal, running_portal

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.processes)
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    """With its own times: a lease of 15 s, a sweep every 5 s."""
    with running_portal() as started:
        yield started


@pytest.fixture(scope="module")
def hasty() -> Iterator[Portal]:
    """With a lease of 3 s, and always with a broker of its own: it will be stopped."""
    with running_portal({"LEASE_SECONDS": "3", "REDIS_URL": ""}) as started:
        yield started
