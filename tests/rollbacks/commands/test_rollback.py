from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from incidents.models import Incident
from rollbacks import actions, runner
from rollbacks.models import RestorePoint, Rollback, System
from tests.conftest import git
from tests.rollbacks.commands.conftest import Give, Manage

ASK = ["--to", "v1", "--severity", "high", "--scope", "multiple", "--reason", "500 since 2", "--as", "oncall"]


def test_it_is_planned_without_any_broker(manage: Give, system: System, incident: Incident) -> None:
    said = manage("rollback", "agents", *ASK, "--local", "--json")
    assert said.code == 0, said.err
    rollback = Rollback.objects.get()
    assert (rollback.state, rollback.target, rollback.reason) == ("awaiting_approval", "v1", "500 since 2")
    assert rollback.incident == incident, "the open incident that names the system"
    known = {name: said.json[name] for name in ("id", "state", "system", "downtime_seconds", "incident")}
    assert known == {
        "id": rollback.pk,
        "state": "awaiting_approval",
        "system": "agents",
        "downtime_seconds": None,
        "incident": incident.pk,
    }
    assert "one Tech Lead or above" in said.out, "the matrix's answer"
    assert f"python manage.py approve {rollback.pk} --as" in said.out


def test_without_to_the_newest_five_restore_points_are_listed(give: Give, system: System, oncall: User) -> None:
    for day in range(1, 8):
        RestorePoint.objects.create(
            system=system,
            tag=f"backup-2026030{day}-120000",
            state="verified",
            commit=f"{day}" * 40,
            reason=f"before 1.{day}",
            made_at=timezone.now() - timedelta(days=10 - day),
            bad=day == 6,
        )
    said = give("rollback", "agents", "--as", "oncall", "--json")
    assert said.code == 2
    listed = [line.split() for line in said.out.splitlines() if line.startswith("  backup-")]
    assert [words[0] for words in listed] == [f"backup-2026030{day}-120000" for day in (7, 5, 4, 3, 2)]
    assert listed[0][1:] == ["7777777777", "verified", "before", "1.7"]
    assert said.json == {"system": "agents", "restore_points": [words[0] for words in listed]}
    assert "Say where to with --to." in said.out
    assert not Rollback.objects.exists()


def test_without_any_restore_point_it_says_how_to_get_one(give: Give, system: System, oncall: User) -> None:
    said = give("rollback", "agents", "--as", "oncall")
    assert (said.code, "none yet" in said.out, "backup agents" in said.out) == (2, True, True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--severity", "huge"], "invalid choice: 'huge' (choose from 'critical', 'high', 'medium', 'low')"),
        (["--scope", "galaxy"], "invalid choice: 'galaxy'"),
        (["--procedure", "format"], "invalid choice: 'format'"),
        (["--incident", "999"], "There is no incident 999. None is open."),
        (["--reason", ""], "--reason is needed: the decision matrix and the log ask for it."),
        (["--to", "--upload-pack=x"], "expected one argument"),
    ],
)
def test_wrong_words(give: Give, system: System, oncall: User, wrong: list[str], said: str) -> None:
    answer = give("rollback", "agents", *ASK, *wrong)
    assert (answer.code, said in answer.err) == (2, True), answer
    assert not Rollback.objects.exists()


def test_open_incidents_are_offered_for_one_that_is_not_there(give: Give, incident: Incident) -> None:
    said = give("rollback", "agents", *ASK, "--incident", 999)
    assert (said.code, f"There is no incident 999. Open are {incident.pk}." in said.err) == (2, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("v11", "knows no commit, tag or branch 'v11'. Did you mean v1?"),
        ("v1 --force", "'v1 --force' is no name of a commit, tag or branch."),
        ("main", "there is nothing to do"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_reason(
    give: Give, system: System, oncall: User, target: str, why: str
) -> None:
    said = give("rollback", "agents", *ASK, "--to", target, "--local", "--json")
    assert (said.code, said.json["state"]) == (1, "refused")
    assert why in said.json["trouble"]
    assert why in said.out


def test_a_restore_point_that_is_marked_bad_is_refused(give: Give, system: System, oncall: User) -> None:
    RestorePoint.objects.create(system=system, tag="backup-x", state="verified", bad=True, bad_reason="it answers 500")
    said = give("rollback", "agents", *ASK, "--to", "backup-x", "--json")
    assert (said.code, said.json["id"]) == (1, None)
    assert "it is marked bad (it answers 500). Choose another one." in said.err


def test_a_target_of_a_thousand_letters_is_refused(give: Give, system: System, oncall: User) -> None:
    said = give("rollback", "agents", *ASK, "--to", "v" * 1000)
    assert (said.code, "is too long for the name of a restore point" in said.err) == (1, True)
    assert not Rollback.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_immediate_runs_to_its_end_in_one_command(give: Give, system: System, oncall: User, checkout: Path) -> None:
    words = [*ASK, "--severity", "critical", "--scope", "system-wide"]
    said = give("rollback", "agents", *words, "--wait", "--local", "--json")
    assert said.code == 0, said
    assert said.json["state"] == "monitoring"
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")


def test_wait_follows_what_others_do(manage: Manage, system: System, tech_lead: User, oncall: User) -> None:
    """Planned by a worker, approved on a page, carried out by a worker; the command tells each change."""
    with manage.begun("rollback", "agents", *ASK, "--wait", "--json") as waiting:
        rollback = waiting.until(lambda: Rollback.objects.first())
        runner.carry(rollback.run.pk)
        waiting.until_said(f"Rollback {rollback.pk} is awaiting approval")
        actions.approve(rollback.pk, by=tech_lead)
        runner.carry(rollback.run.pk)
        said = waiting.ended()
    assert said.code == 0, said
    assert (said.json["id"], said.json["state"]) == (rollback.pk, "monitoring")
    assert said.json["rollback_seconds"] > 0
    assert "  6. Switch: stop, put in place, start: done\n" in said.out


# --- what a procedure is asked for besides --------------------------------------------------------------------------


@pytest.fixture
def able(system: System) -> System:
    """It has a component, and its metrics can be reset."""
    text = system.manifest_text.replace('logs = ["logs"]', 'logs = ["logs"]\ncomponents = { app = ["app.py"] }')
    return actions.add_system(by=None, text=f"{text}reset_metrics = 'true'\n")[0]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--component", "app"], "“component” goes with partial, not with code."),
        (["--set-logs-aside"], "“set logs aside” goes with state, not with code."),
        (["--procedure", "config", "--reset-metrics"], "“reset metrics” goes with state, not with config."),
        (["--procedure", "partial", "--into", "/srv/x"], "“into” goes with full, not with partial."),
        (["--procedure", "full", "--with-configuration"], "“with configuration” goes with code, not with full."),
        (["--procedure", "partial"], "Say which component: app."),
        (["--procedure", "partial", "--component", "ap"], "Say which component: app."),
        (["--procedure", "full", "--into", "x"], "'x' has to be an absolute path without “..”"),
        (["--procedure", "full", "--into", "/srv/../etc"], "has to be an absolute path without “..”"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(
    give: Give, able: System, oncall: User, words: list[str], why: str
) -> None:
    said = give("rollback", "agents", *ASK, *words, "--json")
    assert (said.code, why in said.err, said.json["trouble"] == said.err.strip()) == (1, True, True), said
    assert not Rollback.objects.exists()


def test_a_copy_is_not_restored_over_the_system_or_its_backups(
    give: Give, able: System, oncall: User, checkout: Path
) -> None:
    for taken in (checkout, checkout / "sub", checkout.parent, checkout.parent / "backups/x"):
        said = give("rollback", "agents", *ASK, "--procedure", "full", "--into", taken)
        assert (said.code, "Name an empty directory somewhere else." in said.err) == (1, True), said
    assert not Rollback.objects.exists()


def test_a_system_without_components_says_what_to_do(give: Give, system: System, oncall: User) -> None:
    said = give("rollback", "agents", *ASK, "--procedure", "partial", "--component", "app")
    assert (said.code, "add “components” to its manifest" in said.err) == (1, True)


@pytest.mark.django_db(transaction=True)
def test_a_component_is_planned_as_it_was_asked_for(give: Give, able: System, oncall: User) -> None:
    said = give("rollback", "agents", *ASK, "--procedure", "partial", "--component", "app", "--local", "--json")
    assert (said.code, said.json["state"]) == (0, "awaiting_approval"), said
    plan = Rollback.objects.get().plan_now
    assert plan is not None
    assert plan.body["essence"]["goal"]["paths"] == ["app.py"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--procedure", "state", "--set-logs-aside"], "v1 is no restore point, and only a restore point holds"),
        (["--procedure", "full"], "v1 is no restore point, and a full rollback needs one"),
        (["--procedure", "dependencies"], "v1 names no packages (requirements.txt)"),
        (["--procedure", "config"], "is that of v1 already: nothing to do"),
    ],
)
def test_what_each_procedure_needs_is_said(give: Give, able: System, oncall: User, words: list[str], why: str) -> None:
    said = give("rollback", "agents", *ASK, *words, "--local", "--json")
    assert (said.code, said.json["state"], why in said.json["trouble"]) == (1, "refused", True), said
