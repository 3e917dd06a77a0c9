from __future__ import annotations

from pathlib import Path

from orchestration.metrics import MetricsCollector


def test_runs_are_counted_and_survive_a_restart(tmp_path: Path) -> None:
    MetricsCollector(tmp_path).count({"goal": "sort", "steps": ["sort"], "remarks": []})
    assert MetricsCollector(tmp_path).read() == {"runs": 1, "steps": 1, "remarks": 0}


def test_reset_keeps_the_history(tmp_path: Path) -> None:
    metrics = MetricsCollector(tmp_path)
    metrics.count({"goal": "sort", "steps": ["sort"], "remarks": []})
    metrics.reset()
    assert metrics.read()["runs"] == 0
    assert len(metrics.history.read_text().splitlines()) == 2
