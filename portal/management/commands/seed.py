from __future__ import annotations

import json
import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.db.models import Q, QuerySet

from incidents import postmortems
from incidents.models import EmergencyContact
from portal.ledger.roles import Role
from rollbacks import actions as rollbacks

CONTACTS = [  # the guide's section "Emergency Contacts"
    (Role.ON_CALL, "Primary rollback decision maker"),
    (Role.TECH_LEAD, "Approval for major rollbacks"),
    (Role.MANAGER, "Stakeholder communication"),
    (Role.DEVOPS, "Infrastructure rollback support"),
]
EDITABLE = {
    "incidents": ["emergencycontact", "sectiontemplate", "rotation", "turn"],
    "rollbacks": ["system", "matrixversion", "decisionrule"],
}
STAFF = [Role.TECH_LEAD, Role.DEVOPS, Role.MANAGER, Role.AUDITOR]  # who has something to do, or to read, in the admin
PEOPLE = [  # the demo's: (username, first name, last name, role, the end of a number from the fictional range)
    ("oncall", "Amara", "Okafor", Role.ON_CALL, "01"),
    ("techlead", "Henrik", "Lindqvist", Role.TECH_LEAD, "02"),
    ("engineer", "Mei", "Tanaka", Role.ENGINEER, "03"),
    ("devops", "Diego", "Ferreira", Role.DEVOPS, "04"),
    ("manager", "Priya", "Raman", Role.MANAGER, "05"),
    ("auditor", "Claire", "Dubois", Role.AUDITOR, "06"),
]


class Command(BaseCommand):
    help = "Roles, the decision matrix and emergency contacts from the guide. Can be run again: it overwrites nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="also one account per role, with a password made now")

    @transaction.atomic
    def handle(self, *, demo: bool, **options: Any) -> None:
        for role in Role:
            Group.objects.get_or_create(name=role.value)[0].permissions.add(*permissions_of(role))
        rollbacks.seed_matrix()
        postmortems.seed_sections()
        seed_contacts()
        if demo:
            seed_people(settings.HOME / "demo-accounts.json")
        User.objects.filter(groups__name__in=STAFF, is_staff=False).update(is_staff=True)
        self.stdout.write("Roles, decision matrix and contacts are there." + (" So are the demo people." * demo))


def permissions_of(role: Role) -> QuerySet[Permission]:
    """What the role may do in the admin. What it may do on the pages is with each move (portal.ledger.roles)."""
    seen = Q(codename__startswith="view_") & ~Q(content_type__app_label="sessions")  # a session's key signs one in
    contact = Q(content_type__app_label="incidents", content_type__model="emergencycontact")
    edited = Q()
    for app, models in EDITABLE.items():
        edited |= Q(content_type__app_label=app, content_type__model__in=models)
    granted = {
        Role.AUDITOR: seen,
        Role.TECH_LEAD: seen | edited & ~Q(codename__startswith="delete_"),
        Role.DEVOPS: seen | edited & ~Q(codename__startswith="delete_"),
        Role.MANAGER: contact & Q(codename__regex="^(view|change)_"),
    }
    return Permission.objects.filter(granted[role]) if role in granted else Permission.objects.none()


def seed_contacts() -> None:
    if not EmergencyContact.objects.exists():
        for order, (role, duty) in enumerate(CONTACTS, start=1):
            EmergencyContact.objects.create(role=role.value, duty=duty, order=order)


def seed_people(file: Path) -> None:
    """One account per role; whoever is there already stays as they are, as long as their password is known."""
    known: list[dict[str, str]] = json.loads(file.read_text()) if file.exists() else []
    passwords = {account["username"]: account["password"] for account in known}
    accounts = []
    for username, first, last, role, ending in PEOPLE:
        password = passwords.get(username) or secrets.token_urlsafe(12)
        user, new = User.objects.get_or_create(
            username=username,
            defaults={"first_name": first, "last_name": last, "email": f"{username}@example.org"},
        )
        if new or username not in passwords:
            user.set_password(password)
            user.save()
        user.groups.add(Group.objects.get(name=role.value))
        EmergencyContact.objects.filter(role=role.value, person=None).update(
            person=user, phone=f"+1 202 555 01{ending}", email=user.email, chat=f"@{username}", hours="always"
        )
        accounts.append({"username": username, "name": user.get_full_name(), "role": role.value, "password": password})
    if accounts != known:
        write_privately(file, json.dumps(accounts, indent=2))


def write_privately(file: Path, text: str) -> None:
    """Readable by its owner only from its first byte on, and never half written."""
    made = file.with_name(f".{file.name}.{os.getpid()}")
    made.touch(mode=0o600)
    made.write_text(text)
    made.replace(file)
