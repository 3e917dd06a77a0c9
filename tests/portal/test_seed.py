from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command

from incidents.models import EmergencyContact
from portal.ledger.roles import Role, holds
from rollbacks.models import MatrixVersion


@pytest.fixture
def home(settings: Any, tmp_path: Path) -> Path:
    settings.HOME = tmp_path
    return tmp_path


def test_it_can_be_run_again(db: None, home: Path) -> None:
    call_command("seed", verbosity=0)
    EmergencyContact.objects.filter(role="DevOps").update(duty="Ours")
    call_command("seed", verbosity=0)
    assert set(Group.objects.values_list("name", flat=True)) == set(Role)
    assert [contact.duty for contact in EmergencyContact.objects.all()] == [
        "Primary rollback decision maker",
        "Approval for major rollbacks",
        "Stakeholder communication",
        "Ours",
    ]
    assert MatrixVersion.objects.count() == 1
    assert not User.objects.exists()
    assert not (home / "demo-accounts.json").exists()


def test_demo(db: None, home: Path) -> None:
    call_command("seed", "--demo", verbosity=0)
    file = home / "demo-accounts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    accounts = json.loads(file.read_text())
    assert {account["role"] for account in accounts} == set(Role)
    assert len({account["password"] for account in accounts}) == len(accounts)
    for account in accounts:
        user = User.objects.get(username=account["username"])
        assert user.check_password(account["password"])
        assert user.get_full_name() == account["name"]
        assert holds(user, account["role"])
        assert user.is_staff == (account["role"] in {"Tech Lead", "DevOps", "Project Manager", "Auditor"})
        assert not user.is_superuser
    assert all(contact.person and "555 01" in contact.phone for contact in EmergencyContact.objects.all())


def test_the_demo_again_changes_nothing(db: None, home: Path) -> None:
    call_command("seed", "--demo", verbosity=0)
    before = (home / "demo-accounts.json").read_text()
    call_command("seed", "--demo", verbosity=0)
    assert (home / "demo-accounts.json").read_text() == before


def test_lost_passwords_are_made_again(db: None, home: Path) -> None:
    call_command("seed", "--demo", verbosity=0)
    (home / "demo-accounts.json").unlink()
    call_command("seed", "--demo", verbosity=0)
    for account in json.loads((home / "demo-accounts.json").read_text()):
        assert User.objects.get(username=account["username"]).check_password(account["password"])


def test_a_new_database_keeps_the_known_passwords(db: None, home: Path) -> None:
    account = {"username": "oncall", "name": "x", "role": "x", "password": "known before"}
    (home / "demo-accounts.json").write_text(json.dumps([account]))
    call_command("seed", "--demo", verbosity=0)
    assert User.objects.get(username="oncall").check_password("known before")


def test_rights_in_the_admin(auditor: User, tech_lead: User, manager: User, engineer: User, home: Path) -> None:
    call_command("seed", verbosity=0)
    for user, may, may_not in (
        (auditor, ["ledger.view_ledger", "rollbacks.view_rollback"], ["incidents.change_emergencycontact"]),
        (tech_lead, ["rollbacks.add_matrixversion", "rollbacks.change_system"], ["rollbacks.delete_system"]),
        (manager, ["incidents.change_emergencycontact"], ["ledger.view_ledger", "incidents.add_emergencycontact"]),
        (engineer, [], ["ledger.view_ledger", "rollbacks.change_system"]),
    ):
        fresh = User.objects.get(pk=user.pk)
        assert all(fresh.has_perm(name) for name in may), user
        assert not any(fresh.has_perm(name) for name in [*may_not, "auth.change_user", "auth.change_group"]), user
        assert fresh.is_staff == (user != engineer)


def test_a_session_cannot_be_read(db: None, home: Path) -> None:
    """A session's key signs one in."""
    call_command("seed", verbosity=0)
    assert not Group.objects.filter(permissions__content_type__app_label="sessions").exists()


def test_the_demo_again_keeps_what_people_changed(db: None, home: Path) -> None:
    call_command("seed", "--demo", verbosity=0)
    User.objects.filter(username="oncall").update(first_name="Ama")
    EmergencyContact.objects.filter(role="Project Manager").delete()
    call_command("seed", "--demo", verbosity=0)
    assert User.objects.get(username="oncall").first_name == "Ama"
    assert EmergencyContact.objects.count() == 3
