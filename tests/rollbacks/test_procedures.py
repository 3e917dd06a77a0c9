"""Each procedure from its request to its watch and back, as the worker carries it out; what the pages say of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from rollbacks import actions, runner
from rollbacks.models import RestorePoint, Rollback, System
from rollbacks.procedures import stage
from rollbacks.tools import environment
from tests.conftest import again, asked, commit, git
from tests.rollbacks.procedures.serving import Served, app, picture, release, serving

pytestmark = pytest.mark.django_db(transaction=True)
ClientFor = Callable[[User], Client]

MORE = 'logs = ["logs"]\ncomponents = { app = ["app.py"], planner = ["planner.py"] }'
# What is asked for, beside the system's newest restore point as the target.
WISHES: dict[str, dict[str, Any]] = {
    "config": {},
    "dependencies": {},
    "partial": {"component": "planner"},
    "state": {"set_logs_aside": True},
    "full": {},
}


def package(root: Path, version: str) -> None:
    info = root / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/tool-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: tool\nVersion: {version}\n")


def make_environment(target: Path, version: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    package(target, version)


def change_manifest(system: System, text: str) -> System:
    return actions.add_system(by=None, text=text)[0]


@pytest.fixture
def good(system: System, checkout: Path, oncall: User) -> RestorePoint:
    """A restore point of a system with a component and an environment, and what spoiled it since."""
    system = change_manifest(system, system.manifest_text.replace('logs = ["logs"]', MORE))
    return backed_up(system, checkout, oncall)


def backed_up(system: System, checkout: Path, oncall: User) -> RestorePoint:
    (checkout / ".env").chmod(0o600)
    (checkout / "planner.py").write_text("PLAN = 1\n")
    commit(checkout, "Plan")
    make_environment(checkout / ".venv", "1.0")
    made = actions.backup(system=system, by=oncall)
    runner.carry(made.run.pk)
    made = RestorePoint.objects.get(pk=made.pk)
    assert made.state == "verified", made.problem
    keep_environment(system, made)
    spoil(checkout)
    return made


def keep_environment(system: System, point: RestorePoint) -> None:
    """As a rollback before would have left it: nothing has to be installed."""
    lock = stage.lock_for(system.manifest, "tool==1.0\n")
    kept = stage.kept_environment(system.manifest, lock)
    kept.parent.mkdir(parents=True, exist_ok=True)
    make_environment(kept, "1.0")
    environment.mark(kept)


def spoil(checkout: Path) -> None:
    (checkout / "planner.py").write_text("PLAN = 2\n")
    (checkout / "config/agents.json").write_text(json.dumps({"model": "big", "api_key": "k2"}))
    commit(checkout, "Worse")
    package(checkout / ".venv", "2.0")
    shutil.rmtree(next((checkout / ".venv").rglob("tool-1.0.dist-info")))
    (checkout / "planner.py").write_text("PLAN = 'edited on the host'\n")
    git(checkout, "add", "planner.py")
    (checkout / "note.txt").write_text("left by somebody\n")
    (checkout / "artifacts/history.txt").write_text("spoiled\n")
    (checkout / "logs/a.log").write_text("ERROR\n")
    (checkout / ".env").write_text("API_TOKEN=rotated-since\n")


def is_there(checkout: Path, procedure: str) -> bool:
    """Did the procedure bring what it is for?"""
    return {
        "config": "small" in (checkout / "config/agents.json").read_text(),
        "dependencies": (checkout / ".venv").is_symlink(),
        "partial": (checkout / "planner.py").read_text() == "PLAN = 1\n",
        "state": (checkout / "artifacts/history.txt").read_text() == "one\n",
        "full": (checkout / ".env").read_text() == "API_TOKEN=super-secret-token\n",
    }[procedure]


def whole(checkout: Path) -> dict[str, object]:
    logs = {path.name: path.read_text() for path in (checkout / "logs").iterdir()}
    return {**picture(checkout), "logs": logs}


def ask(point: RestorePoint, procedure: str, oncall: User) -> Rollback:
    rollback = asked(point.system, oncall, procedure=procedure, target=point.tag, **WISHES[procedure])
    runner.carry(rollback.run.pk)
    planned = again(rollback)
    assert planned.state == "awaiting_approval", planned.trouble
    return planned


def carried(rollback: Rollback, tech_lead: User) -> Rollback:
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    return again(rollback)


# --- there and back, with a service ---------------------------------------------------------------------------------


@pytest.fixture
def served(matrix: None, checkout: Path) -> Iterator[Served]:
    release(checkout, app(1))
    with serving(checkout) as service:
        yield service


@pytest.fixture
def running(served: Served, checkout: Path, oncall: User) -> RestorePoint:
    text = served.manifest().replace('logs = ["logs"]', MORE)
    point = backed_up(actions.add_system(by=None, text=text)[0], checkout, oncall)
    served.start()
    return point


@pytest.mark.parametrize("procedure", WISHES)
def test_it_is_carried_out_and_when_it_is_aborted_all_is_as_it_was_found(
    running: RestorePoint, served: Served, checkout: Path, oncall: User, tech_lead: User, procedure: str
) -> None:
    before, pid = whole(checkout), served.pid
    rollback = carried(ask(running, procedure, oncall), tech_lead)
    assert rollback.state == "monitoring", rollback.trouble
    assert is_there(checkout, procedure)
    assert served.pid not in (0, pid), "a new process runs it"
    assert served.is_healthy()
    actions.abort(rollback.pk, by=oncall, note="not it")
    runner.carry(rollback.run.pk)
    rollback = again(rollback)
    assert rollback.state == "reverted", rollback.trouble
    assert whole(checkout) == before
    assert served.is_healthy()


@pytest.mark.parametrize("procedure", WISHES)
def test_one_that_fails_after_its_switch_puts_all_back_by_itself(
    good: RestorePoint, checkout: Path, oncall: User, tech_lead: User, procedure: str
) -> None:
    change_manifest(good.system, good.system.manifest_text + "smoke = 'echo it smokes; exit 9'\n")
    good = RestorePoint.objects.get(pk=good.pk)
    before = whole(checkout)
    rollback = carried(ask(good, procedure, oncall), tech_lead)
    assert (rollback.state, "it smokes" in rollback.trouble) == ("reverted", True), rollback.trouble
    assert rollback.run.steps.get(name="switch").ended_at, "it was switched, and switched back"
    assert whole(checkout) == before


def test_a_way_back_that_was_cut_short_after_the_watch_had_begun_is_gone_to_its_end(
    good: RestorePoint, checkout: Path, oncall: User, tech_lead: User
) -> None:
    """HEAD is back, and the worker is dead: that is no deploy by somebody else, and no reason to hold."""
    before = whole(checkout)
    rollback = carried(ask(good, "partial", oncall), tech_lead)
    actions.abort(rollback.pk, by=oncall, note="not it")
    (switches,) = (checkout / ".rollback/switches").glob("*-there.json")
    back = switches.with_name(switches.name.replace("-there", "-back"))
    back.write_text(json.dumps({"goal": {}, "old_pid": 0, "began": 0.0}))
    git(checkout, "update-ref", "refs/heads/main", "HEAD^")
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "reverted", again(rollback).trouble
    assert whole(checkout) == before


# --- what people read -----------------------------------------------------------------------------------------------

SAID = {
    "config": ("change 2 settings on agents, about", ["model", "•••"], ["<h3>Packages", "<h3>Artifacts", "k2"]),
    "dependencies": ("change 1 package on agents, about", ["tool", "nothing has to be installed"], ["<h3>Config"]),
    "partial": ("restore planner of agents, about", ["Restore planner agent from backup"], ["<h3>Packages"]),
    "state": (
        "replace 1 artifact of agents, set its logs aside, about",
        ["Logs set aside, with a note", "8 bytes", "not deleted"],
        ["<h3>Packages", "<h3>Configuration"],
    ),
    "full": (
        "bring all of agents back, 1 commit left behind, about",
        ["Worse", "<h3>Secrets", ".env", "8 bytes"],
        ["rotated-since", "super-secret"],
    ),
}


@pytest.mark.parametrize("procedure", WISHES)
def test_the_page_says_what_it_moves_and_the_button_what_is_approved(
    client_for: ClientFor, good: RestorePoint, oncall: User, tech_lead: User, procedure: str
) -> None:
    rollback = ask(good, procedure, oncall)
    shown = client_for(tech_lead).get(f"/rollbacks/{rollback.pk}/").content.decode().replace("\xa0", " ")
    button, words, never = SAID[procedure]
    assert f"Approve: {button} " in shown
    assert [word for word in words if word not in shown] == []
    assert [word for word in never if word in shown] == []


def test_the_page_says_where_nothing_stands(
    client_for: ClientFor, good: RestorePoint, oncall: User, tech_lead: User, tmp_path: Path
) -> None:
    into = tmp_path / "copy"
    rollback = asked(good.system, oncall, procedure="full", target=good.tag, into=str(into))
    runner.carry(rollback.run.pk)
    shown = client_for(tech_lead).get(f"/rollbacks/{rollback.pk}/").content.decode()
    assert f'Nothing stands at <span class="sha">{into}</span> yet' in shown
    assert f"Approve: bring agents up at {into}, about" in shown


def test_the_form_asks_what_each_procedure_needs(client_for: ClientFor, good: RestorePoint, oncall: User) -> None:
    shown = client_for(oncall).get("/systems/agents/roll-back/").content.decode()
    for name in ("with_configuration", "set_logs_aside", "component", "into"):
        assert f'name="{name}"' in shown, name
    assert '<option value="planner">planner</option>' in shown
    assert 'name="reset_metrics"' not in shown, "the manifest names no command for it"


def test_without_components_none_is_asked_for(client_for: ClientFor, system: System, oncall: User) -> None:
    shown = client_for(oncall).get("/systems/agents/roll-back/").content.decode()
    assert 'name="component"' not in shown
    assert "For a full rollback" in shown


def test_what_the_form_asks_for_is_what_is_planned(client_for: ClientFor, good: RestorePoint, oncall: User) -> None:
    words = {"target": good.tag, "severity": "medium", "scope": "single", "reason": "it plans nonsense"}
    asked_for = {"procedure": "partial", "component": "planner", **words}
    answer = client_for(oncall).post("/systems/agents/roll-back/", asked_for)
    assert answer.status_code == 302
    assert Rollback.objects.get().component == "planner"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"procedure": "partial"}, "Say which component: app, planner."),
        ({"procedure": "code", "set_logs_aside": "on"}, "“set logs aside” goes with state, not with code."),
        ({"procedure": "full", "into": "here"}, "has to be an absolute path"),
    ],
)
def test_the_form_says_what_does_not_go_together(
    client_for: ClientFor, good: RestorePoint, oncall: User, wrong: dict[str, str], said: str
) -> None:
    words = {"target": good.tag, "severity": "high", "scope": "multiple", "reason": "500 since 2"}
    answer = client_for(oncall).post("/systems/agents/roll-back/", {**words, **wrong})
    assert (answer.status_code, said in answer.content.decode()) == (422, True)
    assert not Rollback.objects.exists()
