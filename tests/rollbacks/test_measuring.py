"""The process that measures the downtime comes up beside the first step, which changes nothing, and never later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.heartbeat import Heartbeat
from rollbacks.models import System
from rollbacks.tools import prober
from rollbacks.tools.manifest import Manifest


@pytest.fixture
def manifest(system: System) -> Manifest:
    """Of a service that nobody answers for: that is measured too."""
    return replace(system.manifest, health_url="http://127.0.0.1:1/health")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    kept = tmp_path / "probes" / "run.jsonl"
    yield kept
    prober.stop(kept)


def test_from_the_second_step_on_it_measures(manifest: Manifest, file: Path, transactional_db: None) -> None:
    with Heartbeat(0, 0) as heart:
        heart.measure_with(manifest, file, at_once=False)
        heart.measure_with(manifest, file, at_once=True)
        seen = prober.read(file)
    assert seen.since > 0
    assert seen.down_since is not None


def test_a_run_of_one_step_leaves_no_prober_that_comes_up_later(
    manifest: Manifest, file: Path, transactional_db: None
) -> None:
    with Heartbeat(0, 0) as heart:
        heart.measure_with(manifest, file, at_once=False)
    assert file.exists(), "the pulse ends only when it has come up, so that it can be ended"


def test_that_it_cannot_come_up_is_the_steps_trouble(
    manifest: Manifest, tmp_path: Path, transactional_db: None
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with Heartbeat(0, 0) as heart, pytest.raises(OSError, match="taken"):
        heart.measure_with(manifest, tmp_path / "taken" / "run.jsonl", at_once=True)
