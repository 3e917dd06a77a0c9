from __future__ import annotations

from orchestration.coordinator import AgentCoordinator


def test_a_run_is_planned_and_reviewed(coordinator: AgentCoordinator) -> None:
    assert coordinator.run("sort and sort") == {
        "goal": "sort and sort",
        "steps": ["sort", "sort"],
        "remarks": ["said twice: sort"],
    }


def test_parallel_runs_keep_their_order(coordinator: AgentCoordinator) -> None:
    goals = [f"goal {number}" for number in range(50)]
    assert [result["goal"] for result in coordinator.run_parallel(goals)] == goals
