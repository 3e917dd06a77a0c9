"""The worker is killed: see matrix.py."""

from __future__ import annotations

from tests.chaos import page
from tests.chaos.bed import Bed
from tests.chaos.matrix import Matrix

WORDS = """
`make chaos` kills the worker of each procedure with -9, also at 20 instants for each way, and writes this section;
`make chaos-sample` takes 40 of the runs. A worker here is a process that carries a run as the pool's child does, on
PostgreSQL, on a real checkout with a service under supervisord; Celery around it is killed by `make processes`.
"""


def test_no_blow_leaves_a_system_in_between(bed: Bed) -> None:
    matrix = Matrix(bed, instants=20)
    matrix.play()
    page.tell("The worker is killed", WORDS, matrix)
    assert matrix.violations == []
