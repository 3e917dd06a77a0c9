"""The machine's care of restore points, with real ones on a real repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused
from rollbacks import actions, keeping, runner, tasks
from rollbacks.models import RestorePoint, System
from rollbacks.procedures import artifacts
from rollbacks.tools import files, git
from tests.conftest import again, asked, manifest_text

Made = Callable[..., RestorePoint]
SHORT = "\n[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n"


@pytest.fixture
def backups(checkout: Path) -> Path:
    return checkout.parent / "backups"


@pytest.fixture
def made(system: System, oncall: User, transactional_db: None) -> Made:
    """made(days_ago): a verified backup, as if it was made then."""

    def make(days: float = 0) -> RestorePoint:
        point = actions.backup(system=system, by=oncall)
        runner.carry(point.run.pk)
        then = timezone.now() - timedelta(days=days)
        RestorePoint.objects.filter(pk=point.pk).update(made_at=then, verified_at=then)
        return now(point)

    return make


@pytest.fixture
def short(system: System, checkout: Path) -> None:
    """Its rule keeps one."""
    actions.add_system(by=None, text=manifest_text(checkout) + SHORT)


def now(point: RestorePoint) -> RestorePoint:
    return RestorePoint.objects.select_related("system").get(pk=point.pk)


def damage(backups: Path, point: RestorePoint) -> Path:
    kept = backups / point.tag / "config" / "config" / "agents.json"
    kept.write_text('{"model": "somebody else\'s"}')
    return kept


# --- reading back ---------------------------------------------------------------------------------------------------


def test_what_nobody_read_for_a_day_is_read_back(made: Made, system: System) -> None:
    old, young = made(2), made()
    assert (old.is_stale, young.is_stale) == (True, False)
    before = rows_of(old).count()
    tasks.tend(system.host)
    assert not now(old).is_stale
    assert now(young).verified_at == young.verified_at
    assert rows_of(old).count() == before, "as it was known to be: no move"


def test_one_that_changed_is_corrupt_and_verified_again_once_it_reads_well(
    made: Made, system: System, backups: Path
) -> None:
    point = made(2)
    kept = damage(backups, point)
    tasks.tend(system.host)
    assert now(point).state == "corrupt"
    assert not now(point).is_target
    assert f"{kept} has changed since the restore point was made" in now(point).problem
    assert f"{kept} has changed" in rows_of(point).first().note  # type: ignore[union-attr]
    files.copy(Path(system.manifest.root) / "config" / "agents.json", kept)
    assert keeping.read_back(point.pk).state == "verified"
    assert now(point).problem == ""
    assert [row.move for row in rows_of(point)[:2]] == ["verify", "distrust"]


def test_a_corrupt_one_is_read_once_a_day_too(made: Made, system: System, backups: Path) -> None:
    point = made(2)
    damage(backups, point)
    tasks.tend(system.host)
    tasks.tend(system.host)
    assert [row.move for row in rows_of(point)].count("distrust") == 1


def test_a_point_that_was_never_read_is_read_at_the_next_look(
    made: Made, system: System, oncall: User, tech_lead: User
) -> None:
    rollback = asked(system, oncall)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    safety = RestorePoint.objects.get(kind="safety")
    assert safety.state == "available"
    tasks.tend(system.host)
    assert now(safety).state == "verified", now(safety).problem


def test_nothing_is_read_while_a_run_is_at_work(made: Made, system: System, oncall: User) -> None:
    point = made(2)
    asked(system, oncall)  # to be planned
    tasks.tend(system.host)
    assert now(point).is_stale


def test_another_hosts_points_are_left_alone(made: Made, system: System, backups: Path) -> None:
    point = made(2)
    damage(backups, point)
    System.objects.filter(pk=system.pk).update(host="elsewhere")
    tasks.tend("elsewhere")  # a message that went astray
    assert (now(point).state, now(point).verified_at) == ("verified", point.verified_at)


def test_a_point_that_cannot_be_read_at_all_is_corrupt_and_says_why(made: Made, backups: Path) -> None:
    point = made()
    (backups / point.tag / "manifest.json").unlink()
    (backups / point.tag / "manifest.json").mkdir()
    assert keeping.read_back(point.pk).state == "corrupt"
    assert "manifest.json is missing" in now(point).problem


def test_a_plan_that_finds_it_broken_keeps_others_from_going_there(
    made: Made, system: System, backups: Path, oncall: User
) -> None:
    point = made()
    damage(backups, point)
    rollback = asked(system, oncall, target=point.tag)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "refused"
    assert now(point).state == "corrupt"
    with pytest.raises(MoveRefused, match="it is corrupt"):
        asked(system, oncall, target=point.tag)


# --- letting go -----------------------------------------------------------------------------------------------------


def test_old_ones_leave_the_disk_and_the_repositories(made: Made, short: None, system: System, checkout: Path) -> None:
    old, new = made(40), made(1)
    assert [point.pk for point in keeping.prune(system)] == [old.pk]
    [row, *_] = rows_of(old)
    assert (row.move, row.actor) == ("prune", None)
    assert "not one of the last 1" in row.note
    keeping.remove_pruned(system)
    backups = checkout.parent / "backups"
    assert {path.name for path in backups.iterdir()} == {new.tag, "repository.git"}
    for repository in (checkout, backups / "repository.git"):
        assert [name for name, _, _ in git.tags(repository, "backup-*")] == [new.tag]


def test_what_a_younger_one_shares_with_it_stays_whole(
    made: Made, short: None, system: System, checkout: Path, backups: Path
) -> None:
    history = checkout / "artifacts" / "history.txt"
    os.utime(history, (1_000_000_000, 1_000_000_000))  # so that the second one need not read it again
    old, new = made(40), made(1)
    shared = [path for path in (backups / new.tag / artifacts.KEPT).rglob("*.gz") if path.stat().st_nlink > 1]
    assert shared, "the two share no object, and the test could not fail"
    keeping.prune(system)
    keeping.remove_pruned(system)
    assert not (backups / old.tag).exists()
    assert all(path.stat().st_nlink == 1 for path in shared)
    assert keeping.read_back(new.pk).state == "verified", now(new).problem


@pytest.mark.parametrize("cut", ["before", "renamed", "half", "tags"])
def test_one_who_is_killed_while_removing_leaves_work_for_the_next(
    made: Made, short: None, system: System, backups: Path, cut: str
) -> None:
    old, _ = made(40), made(1)
    keeping.prune(system)
    if cut != "before":
        (backups / old.tag).rename(backups / f".{old.tag}.pruned")
    if cut == "half":
        (backups / f".{old.tag}.pruned" / "manifest.json").unlink()
    if cut == "tags":
        git.delete_tag(system.manifest.root, old.tag)
    tasks.tend(system.host)
    assert not [path for path in backups.iterdir() if old.tag in path.name]
    assert not git.tagged(system.manifest.root, old.tag)
    assert not git.tagged(backups / "repository.git", old.tag)
    assert keeping.remove_pruned(system) == []


@pytest.fixture
def needed(made: Made, short: None, system: System, oncall: User) -> Iterator[RestorePoint]:
    """Old, and the target of a rollback that is still to be planned."""
    old = made(40)
    made(1)
    asked(system, oncall, target=old.tag)
    yield old
    assert now(old).state == "verified"


def test_the_target_of_a_rollback_that_is_not_over_stays(needed: RestorePoint, system: System) -> None:
    assert keeping.prune(system) == []
    why = {each.point.pk: each.why for each in keeping.verdicts(system)}[needed.pk]
    assert why == f"its target: {system.rollbacks.get()} is planning"


def test_nobody_gets_a_target_that_was_let_go_of(made: Made, short: None, system: System, oncall: User) -> None:
    old, _ = made(40), made(1)
    keeping.prune(system)
    with pytest.raises(MoveRefused, match="it is pruned"):
        asked(system, oncall, target=old.tag)


def test_the_points_of_an_open_incident_stay(
    made: Made, short: None, system: System, incident: object, oncall: User, tech_lead: User
) -> None:
    rollback = asked(system, oncall, incident=incident)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    actions.complete(rollback.pk, by=oncall, note="all is well")
    safety = RestorePoint.objects.get(kind="safety")
    assert keeping.needed(system)[safety.pk] == f"its way back: the incident of {rollback} is not closed"


def test_a_tag_that_somebody_moved_is_theirs(made: Made, short: None, system: System, checkout: Path) -> None:
    old, _ = made(40), made(1)
    git.delete_tag(checkout, old.tag)
    git.tag(checkout, old.tag, git.resolve(checkout, "v1"), "mine")
    keeping.prune(system)
    keeping.remove_pruned(system)
    assert git.tagged(checkout, old.tag) == git.resolve(checkout, "v1")
    assert not (checkout.parent / "backups" / old.tag).exists()
