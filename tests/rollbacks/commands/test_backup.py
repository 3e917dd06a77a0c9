from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from rollbacks.models import RestorePoint, System
from tests.conftest import git
from tests.rollbacks.commands.conftest import Give, Manage


def test_it_works_without_any_broker(manage: Manage, system: System, oncall: User, checkout: Path) -> None:
    said = manage("backup", "agents", "--as", "oncall", "--reason", "before 3", "--local", "--json")
    assert said.code == 0, said.err
    point = RestorePoint.objects.get()
    head = git(checkout, "rev-parse", "HEAD")
    assert said.json == {"tag": point.tag, "state": "verified", "system": "agents", "commit": head}
    assert (point.made_by, point.reason) == (oncall, "before 3")
    assert (checkout.parent / "backups" / point.tag / "restore.sh").exists()
    assert "  7. Read it back: done\n" in said.out


def test_without_local_it_is_asked_for(give: Give, system: System, oncall: User) -> None:
    said = give("backup", "agents", "--as", "oncall", "--json")
    point = RestorePoint.objects.get()
    assert (said.code, point.state) == (0, "creating")
    assert said.out.startswith(f"{point.tag} was asked for.\n")
    assert said.json == {"tag": point.tag, "state": "creating", "system": "agents", "commit": ""}


@pytest.mark.django_db(transaction=True)
def test_a_backup_that_fails_says_why(give: Give, system: System, oncall: User, checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    said = give("backup", "agents", "--as", "oncall", "--wait", "--local", "--json")
    assert said.code == 1
    assert said.json["state"] == "failed"
    assert f"{checkout} is no git checkout. Clone the system there" in said.out
    assert not list((checkout.parent / "backups").glob("backup-*"))


def test_a_retired_system_is_refused(give: Give, system: System, oncall: User) -> None:
    System.objects.update(retired=True)
    said = give("backup", "agents", "--as", "oncall", "--json")
    assert (said.code, said.json["state"], said.json["tag"]) == (1, "refused", None)
    assert "agents is retired: it gets no new backups." in said.err
    assert not RestorePoint.objects.exists()


def test_wrong_words(give: Give, system: System) -> None:
    assert give("backup").code == 2
    assert give("backup", "agents", "--fast").code == 2
