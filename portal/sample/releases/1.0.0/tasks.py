"""The chores: invoke --list."""

from __future__ import annotations

import json
import sys

from invoke import Context, Exit, task

from orchestration.coordinator import CONFIG, AgentCoordinator


@task
def test(context: Context) -> None:
    """Runs the test suite."""
    context.run(f"{sys.executable} -m pytest -q", hide=False)


@task
def validate_config(context: Context) -> None:
    """Checks that the configuration is JSON, and that every agent's model is described."""
    try:
        settings = json.loads(CONFIG.read_text())
    except ValueError as error:
        raise Exit(f"{CONFIG.name} is not JSON: {error}", code=1) from error
    wrong = [
        f"{name} uses the model {agent.get('model')!r}, which is not described"
        for name, agent in settings["agents"].items()
        if agent.get("model") not in settings["models"]
    ]
    if wrong:
        raise Exit("\n".join(wrong), code=1)
    print(f"{CONFIG.name}: {len(settings['agents'])} agents, {len(settings['models'])} models, valid")


@task
def run_parallel(context: Context) -> None:
    """Runs a few goals at once, and prints what came of them."""
    goals = ["collect the notes and sort them", "write the summary, check the links and publish it"]
    for result in AgentCoordinator().run_parallel(goals):
        print(f"{result['goal']}: {len(result['steps'])} steps, {len(result['remarks'])} remarks")
