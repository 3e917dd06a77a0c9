from __future__ import annotations

import pytest

from orchestration.coordinator import AgentCoordinator


@pytest.mark.parametrize(
    ("goal", "steps"),
    [
        ("sort", ["sort"]),
        ("collect and sort", ["collect", "sort"]),
        ("collect, sort , publish", ["collect", "sort", "publish"]),
        ("a, b, c, d, e", ["a", "b", "c"]),
        ("", []),
    ],
)
def test_a_goal_becomes_steps(coordinator: AgentCoordinator, goal: str, steps: list[str]) -> None:
    assert coordinator.planner.plan(goal) == steps


def test_a_small_context_means_fewer_steps(coordinator: AgentCoordinator) -> None:
    coordinator.planner.models["tiny"]["context_window"] = 1024
    assert coordinator.planner.plan("a, b, c") == ["a", "b"]
