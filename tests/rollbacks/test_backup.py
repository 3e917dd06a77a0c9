from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from portal.ledger.models import rows_of
from portal.ledger.moves import advance
from rollbacks import actions, runner
from rollbacks.models import RestorePoint, Run, System
from rollbacks.tools import store
from tests.conftest import git

ClientFor = Callable[[User], Client]
URL = "/systems/agents/backup/"


def test_it_works(client_for: ClientFor, system: System, engineer: User) -> None:
    response = client_for(engineer).post(URL, {"reason": "before 3"}, follow=True)
    point = RestorePoint.objects.get()
    assert response.redirect_chain == [(f"/restore-points/{point.pk}/", 302)]
    assert (point.state, point.made_by, point.reason) == ("creating", engineer, "before 3")
    assert Run.objects.get(restore_point=point).system == system
    row = rows_of(point).get()
    assert (row.move, row.target, row.actor, row.note) == ("create", "creating", engineer, "before 3")
    assert point.tag in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_carried_out(client_for: ClientFor, system: System, checkout: Path, oncall: User) -> None:
    point = actions.backup(system=system, by=oncall, reason="before 3")
    runner.carry(point.run.pk)
    point = RestorePoint.objects.get()
    assert (point.state, point.problem) == ("verified", "")
    assert point.commit == git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", f"{point.tag}^{{commit}}")
    folder = checkout.parent / "backups" / point.tag
    assert sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()) == [
        "DEPLOYED_VERSION.txt",
        "artifacts/listing.jsonl",
        f"artifacts/objects/{hashlib.sha256(b'one' + bytes([10])).hexdigest()}.gz",
        "config/config/agents.json",
        "manifest.json",
        "requirements.backup.txt",
        "restore.sh",
        "secrets/.env",
        "system.toml",
    ]
    shown = client_for(oncall).get(f"/restore-points/{point.pk}/").content.decode()
    assert "Read it back" in shown
    assert "config/agents.json" in shown
    assert "super-secret-token" not in shown
    assert [row.move for row in rows_of(point).filter(target__gt="")] == ["verify", "seal", "create"]


def made(system: System, by: User) -> RestorePoint:
    point = actions.backup(system=system, by=by)
    runner.carry(point.run.pk)
    return RestorePoint.objects.get(pk=point.pk)


@pytest.mark.django_db(transaction=True)
def test_it_shares_artifacts_only_with_a_point_that_is_known_to_be_sound(
    system: System, checkout: Path, oncall: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has gone bad in one restore point would be bad in every later one."""
    monkeypatch.setattr(store, "RECENT", 0.0)  # files count as settled at once

    def inode(point: RestorePoint) -> int:
        (kept,) = (checkout.parent / "backups" / point.tag / "artifacts/objects").iterdir()
        return kept.stat().st_ino

    first, second = made(system, oncall), made(system, oncall)
    assert inode(first) == inode(second)
    for point in (first, second):
        with transaction.atomic():
            advance(RestorePoint.objects.locked(point.pk), "distrust", by=None, note="a bit has rotted")
    third = made(system, oncall)
    assert third.state == "verified"
    assert inode(third) != inode(second)
    assert inode(made(system, oncall)) == inode(third)


@pytest.mark.django_db(transaction=True)
def test_twice_in_one_second(system: System, oncall: User, time_machine: object) -> None:
    time_machine.move_to("2026-03-01 12:00:00+00:00", tick=False)  # type: ignore[attr-defined]
    tags = [actions.backup(system=system, by=oncall).tag for _ in range(2)]
    assert tags == ["backup-20260301-120000", "backup-20260301-120001"]


def test_wrong_method(client_for: ClientFor, system: System, oncall: User) -> None:
    assert client_for(oncall).get(URL).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, system: System, stranger: User, auditor: User) -> None:
    assert client.post(URL).headers["Location"].startswith("/accounts/login/")
    for person, said in ((stranger, "you are without a role"), (auditor, "you are Auditor")):
        response = client_for(person).post(URL)
        assert response.status_code == 403
        assert "cannot back up agents" in response.content.decode()
        assert said in response.content.decode()
    assert not RestorePoint.objects.exists()


def test_wrong_state(client_for: ClientFor, system: System, oncall: User) -> None:
    System.objects.update(retired=True)
    response = client_for(oncall).post(URL, follow=True)
    assert response.redirect_chain == [("/systems/agents/", 302)]
    assert "agents is retired: it gets no new backups." in response.content.decode()
    assert not RestorePoint.objects.exists()


def test_bad_input(client_for: ClientFor, system: System, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(URL, {"reason": "x" * 201}, follow=True)
    assert "at most 200 characters" in response.content.decode()
    assert client.post("/systems/agentz/backup/").status_code == 404
    assert client.get("/restore-points/999/").status_code == 404
    assert not RestorePoint.objects.exists()
