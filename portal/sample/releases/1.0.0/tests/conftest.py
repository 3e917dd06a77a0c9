from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestration.coordinator import AgentCoordinator

SETTINGS = {
    "agents": {
        "planner": {"model": "tiny", "max_steps": 3},
        "reviewer": {"model": "tiny", "longest_step": 20},
    },
    "models": {"tiny": {"context": 4096, "temperature": 0.0}},
}


@pytest.fixture()
def coordinator(tmp_path: Path) -> AgentCoordinator:
    """A coordinator with a configuration of its own, so that a change of the real one breaks no test."""
    config = tmp_path / "agents.config.json"
    config.write_text(json.dumps(SETTINGS))
    return AgentCoordinator(config)
