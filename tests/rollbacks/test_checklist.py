"""The guide's checklist of a rollback: what its records tick, what waits for a person, and whether it is go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.test import Client

from portal.ledger.moves import MoveRefused
from rollbacks import actions, checklist, runner
from rollbacks.models import ChecklistTick, RestorePoint, Rollback, RollbackLogEntry, System
from tests.conftest import again, asked, commit, manifest_text

ClientFor = Callable[[User], Client]
PEOPLES = {"issue": "A bad merge", "version": "It ran for a week", "told-plan": "Mail to support"}


def statuses(rollback: Rollback) -> dict[str, str]:
    listed = checklist.read(again(rollback))
    assert listed is not None
    return {item.key: str(item.status) for part in listed.parts for item in part.items}


def verdict(rollback: Rollback) -> str:
    listed = checklist.read(again(rollback))
    assert listed is not None
    return listed.verdict


def tick_all(rollback: Rollback, by: User) -> None:
    for item, note in PEOPLES.items():
        actions.tick(rollback.pk, by=by, item=item, note=note)


def test_nothing_is_ticked_before_there_is_a_record_of_it(rollback: Rollback) -> None:
    assert "ticked" not in statuses(rollback).values()
    assert verdict(rollback).startswith("No-go, missing: Identify exact issue and root cause (nobody has said it yet);")


def test_it_is_go_when_the_plan_is_made_and_people_have_said_what_only_they_know(
    planned: Rollback, oncall: User
) -> None:
    found = statuses(planned)
    assert {key for key, status in found.items() if status == "ticked"} == {"scope"}
    assert found["evidence"] == "later", "the safety point is the run's own work, and no reason against it"
    tick_all(planned, oncall)
    assert verdict(planned) == "Go: everything before the rollback is done."


def test_a_verified_restore_point_vouches_for_the_version(
    point: RestorePoint, system: System, checkout: Path, oncall: User
) -> None:
    commit(checkout, "Worse", app_py="VERSION = 3\n")
    rollback = asked(system, oncall, target=point.tag)
    runner.carry(rollback.run.pk)
    listed = checklist.read(again(rollback))
    assert listed is not None
    version = listed.item("version")
    assert version is not None
    assert (version.status, version.finding.url) == ("ticked", point.get_absolute_url())
    assert version.finding.words.startswith(f"{point.tag} is verified, read back ")


def test_the_run_ticks_what_it_has_done_and_after_shows_what_is_left(watched: Rollback) -> None:
    found = statuses(watched)
    assert [key for key in checklist.DURING if found[key] == "ticked"] == ["execute", "validate", "tests", "logs"]
    assert found["stop"] == "does not apply", "the manifest names no service manager"
    assert found["evidence"] == "ticked"
    assert [key for key in checklist.AFTER if found[key] == "open"] == [
        "functionality",
        "watch",
        "told-end",
        "document",
    ]
    assert found["smoke"] == "does not apply"


def test_evidence_links_to_the_step_that_showed_it(watched: Rollback) -> None:
    listed = checklist.read(watched)
    assert listed is not None
    item = listed.item("tests")
    assert item is not None
    number = watched.run.steps.get(name="try").number
    assert (item.finding.words, item.finding.url) == ("true passed on what was staged", f"#step-{number}")


def test_after_is_done_in_the_end(watched: Rollback, oncall: User) -> None:
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    entry = RollbackLogEntry.objects.get()
    actions.explain(entry.pk, by=oncall, root_cause="A bad merge", prevention="A test")
    for item in ("functionality", "told-end"):
        actions.tick(watched.pk, by=oncall, item=item, note="Done")
    found = statuses(watched)
    assert [key for key in checklist.AFTER if found[key] == "open"] == []
    listed = checklist.read(again(watched))
    assert listed is not None
    assert "Monitor for 1 hour: ended early by Amara Okafor: Traffic is normal" in [
        str(each) for each in listed.after.items
    ]


def test_new_error_lines_wait_for_a_person_who_has_read_them(watched: Rollback, oncall: User) -> None:
    step = watched.run.steps.get(name="health")
    step.facts = {**step.facts, "errors": 3}
    step.save()
    assert statuses(watched)["logs"] == "open"
    actions.tick(watched.pk, by=oncall, item="logs", note="The cache was cold")
    assert statuses(watched)["logs"] == "ticked"


def test_what_was_undone_is_not_said_to_be_done(watched: Rollback, oncall: User) -> None:
    actions.abort(watched.pk, by=oncall, note="It is worse")
    runner.carry(watched.run.pk)
    assert again(watched).state == "reverted"
    found = statuses(watched)
    assert {found[key] for key in checklist.DURING} == {"does not apply"}
    assert found["functionality"] == "ticked", "every undo was verified"
    assert found["watch"] == "does not apply"


def test_finished_by_hand_a_person_says_what_was_done(held: Rollback, oncall: User) -> None:
    actions.settle(held.pk, by=oncall, note="Typed it")
    assert statuses(held)["execute"] == "open"
    actions.tick(held.pk, by=oncall, item="execute", note="git checkout v1, restarted")
    assert statuses(held)["execute"] == "ticked"


def test_a_word_on_the_plan_does_not_count_for_the_next_plan(planned: Rollback, checkout: Path, oncall: User) -> None:
    tick_all(planned, oncall)
    override_later(planned, checkout, oncall)
    found = statuses(planned)
    assert (found["version"], found["told-plan"], found["issue"]) == ("open", "open", "ticked")


def override_later(planned: Rollback, checkout: Path, oncall: User) -> None:
    """Approved, but the system has changed since: the plan is made again."""
    actions.override(planned.pk, by=oncall, note="It burns")
    commit(checkout, "Meanwhile", app_py="VERSION = 4\n")
    runner.carry(planned.run.pk)
    assert again(planned).state == "awaiting_approval"


def test_nothing_to_check_where_nothing_was_begun(planned: Rollback, oncall: User) -> None:
    actions.cancel(planned.pk, by=oncall)
    assert checklist.read(again(planned)) is None
    with pytest.raises(MoveRefused, match="it has no checklist"):
        actions.tick(planned.pk, by=oncall, item="issue", note="x")


def test_the_page_shows_the_approver_what_is_missing_and_lets_them_approve(
    client_for: ClientFor, planned: Rollback, oncall: User, tech_lead: User
) -> None:
    shown = client_for(tech_lead).get(f"/rollbacks/{planned.pk}/").content.decode()
    assert 'data-state="no-go"' in shown
    assert '<a href="#check-told-plan">Notify stakeholders of rollback plan</a>' in shown
    assert "Approve: roll back 1 commit" in shown
    tick_all(planned, oncall)
    shown = client_for(tech_lead).get(f"/rollbacks/{planned.pk}/").content.decode()
    assert 'data-state="go"' in shown
    assert "Mail to support" in shown


def test_who_may_not_tick_is_told_why(client_for: ClientFor, planned: Rollback, auditor: User) -> None:
    shown = client_for(auditor).get(f"/rollbacks/{planned.pk}/").content.decode()
    assert 'id="why-tick">this needs the role Engineer' in shown
    assert "/tick/" not in shown


def test_the_watch_is_named_by_the_systems_own_time(system: System, checkout: Path, oncall: User) -> None:
    text = manifest_text(checkout) + "\n[health]\nwatch_minutes = 15\n"
    system, _ = actions.add_system(by=None, text=text)
    listed = checklist.read(asked(system, oncall))
    assert listed is not None
    assert listed.after.items[2].title == "Monitor for 15 min"


def test_the_database_refuses_a_change_of_a_tick(planned: Rollback, oncall: User) -> None:
    actions.tick(planned.pk, by=oncall, item="issue", note="A bad merge")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        ChecklistTick.objects.update(note="Nothing was wrong")
