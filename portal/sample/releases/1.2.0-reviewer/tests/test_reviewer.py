from __future__ import annotations

from orchestration.coordinator import AgentCoordinator


def test_a_good_plan_has_no_remarks(coordinator: AgentCoordinator) -> None:
    assert coordinator.reviewer.review(["collect", "sort"]) == []


def test_long_and_repeated_steps_are_remarked(coordinator: AgentCoordinator) -> None:
    long = "a step that goes on and on"
    assert coordinator.reviewer.review([long, "sort", "sort"]) == [f"too long: {long}", "said twice: sort"]


def test_a_strict_reviewer_remarks_an_empty_plan(coordinator: AgentCoordinator) -> None:
    assert coordinator.reviewer.review([]) == []
    coordinator.reviewer.strict = True
    assert coordinator.reviewer.review([]) == ["nothing to do"]
