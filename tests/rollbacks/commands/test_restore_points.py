"""verify_restore_points and prune_restore_points, as scripts call them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from rollbacks import actions, runner
from rollbacks.models import RestorePoint, System
from tests.conftest import manifest_text
from tests.rollbacks.commands.conftest import Give

SHORT = "\n[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n"


@pytest.fixture
def points(system: System, checkout: Path, oncall: User, transactional_db: None) -> list[RestorePoint]:
    """An old one and a new one; the rule keeps the new one."""
    actions.add_system(by=None, text=manifest_text(checkout) + SHORT)
    made = []
    for days in (40, 1):
        point = actions.backup(system=system, by=oncall)
        runner.carry(point.run.pk)
        then = timezone.now() - timedelta(days=days)
        RestorePoint.objects.filter(pk=point.pk).update(made_at=then, verified_at=then)
        made.append(point)
    return made


def test_all_sound_is_0(give: Give, points: list[RestorePoint]) -> None:
    said = give("verify_restore_points", "--json")
    assert said.code == 0
    assert f"agents {points[0].tag}: sound" in said.out
    assert said.json == {"sound": True, "points": 2, "wrong": {}}
    assert not any(point.is_stale for point in RestorePoint.objects.all())


def test_one_that_is_broken_is_1_and_named(give: Give, points: list[RestorePoint], checkout: Path) -> None:
    (checkout.parent / "backups" / points[0].tag / "restore.sh").write_text("rm -rf /\n")
    said = give("verify_restore_points", "agents", "--json")
    assert said.code == 1
    assert f"agents {points[0].tag}: CORRUPT" in said.out
    assert list(said.json["wrong"]) == [f"agents {points[0].tag}"]
    assert RestorePoint.objects.get(pk=points[0].pk).state == "corrupt"


def test_another_hosts_that_nobody_read_for_a_day_is_1(give: Give, points: list[RestorePoint], system: System) -> None:
    System.objects.filter(pk=system.pk).update(host="alpha")
    said = give("verify_restore_points")
    assert said.code == 1
    assert "not read back for a day by the worker on alpha: is its keeper running?" in said.out


def test_a_dry_run_tells_each_with_its_reason_and_moves_nothing(give: Give, points: list[RestorePoint]) -> None:
    said = give("prune_restore_points", "agents", "--dry-run", "--json", "--as", "nobody")
    assert said.code == 0
    assert f"agents {points[0].tag}: GOES, not one of the last 1" in said.out
    assert f"agents {points[1].tag}: stays, the newest good (backup)" in said.out
    assert said.json == {"dry_run": True, "gone": [f"agents {points[0].tag}"]}
    assert set(RestorePoint.objects.values_list("state", flat=True)) == {"verified"}


def test_a_real_run_takes_them_off_this_hosts_disk(
    give: Give, points: list[RestorePoint], devops: User, checkout: Path
) -> None:
    said = give("prune_restore_points", "--local", "--json", "--as", "devops")
    assert (said.code, said.json["gone"]) == (0, [f"agents {points[0].tag}"])
    assert not (checkout.parent / "backups" / points[0].tag).exists()
    assert (checkout.parent / "backups" / points[1].tag).exists()


def test_who_may_not_is_told_why(give: Give, points: list[RestorePoint], engineer: User) -> None:
    said = give("prune_restore_points", "agents", "--as", "engineer")
    assert said.code == 1
    assert "cannot remove restore points of agents: this needs one of the roles Tech Lead, DevOps" in said.err


def test_an_unknown_system_is_wrong_words(give: Give, system: System) -> None:
    for command in ("verify_restore_points", "prune_restore_points"):
        said = give(command, "agentz", "--as", "nobody")
        assert (said.code, "Did you mean agents?" in said.err) == (2, True)
