"""The host loses its power: `make chaos-power`, see tests/chaos/matrix.py. Not a part of `make hosts`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import page
from tests.chaos.matrix import Matrix
from tests.hosts.host import Host
from tests.hosts.portal import Portal
from tests.hosts.power_bed import LOOK_ONLY, PowerBed
from tests.rollbacks.procedures.serving import app, release

pytestmark = pytest.mark.chaos

WORDS = """
`make chaos-power` cuts the power of a real host (`tests/hosts/host.sh kill`: what was not synced is lost), also at 10
instants for each way, and writes this section. Celery's worker on the host carries the run and comes up again with the
host; portal, PostgreSQL and Redis are on another machine. At a boundary the worker stands still until the power is cut.
A lease is 3 s here; the rest of a recovery is the boot, and Celery's start on a machine that has much else to do.
"""


@pytest.fixture
def bed(portal: Portal, host: Host, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> PowerBed:
    for name, value in LOOK_ONLY.items():
        monkeypatch.setenv(name, value)
    release(checkout, app(1), "v1")
    return PowerBed(portal, host, checkout)


def test_no_power_cut_leaves_a_system_in_between(bed: PowerBed) -> None:
    matrix = Matrix(bed, instants=10)
    matrix.play()
    page.tell("The host loses its power", WORDS, matrix)
    assert matrix.violations == []
