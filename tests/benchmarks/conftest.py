"""Every test in this folder is a measurement: `make bench` runs them, `make test` does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.place import Place, laid_out

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.bench)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with laid_out() as here:
        yield here
