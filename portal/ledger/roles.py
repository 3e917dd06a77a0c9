"""Who may do what. A role is a Django group; the ladder says whose word counts for whom (DESIGN 1).

`Who` is what a transition carries as its `permission`: it answers yes or no to django-fsm, and in words to a page,
so that a button that somebody may not use can say why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import QuerySet

Person = User | None  # None is the machine: a worker, the scheduler


class Role(StrEnum):
    ENGINEER = "Engineer"
    ON_CALL = "On-Call Engineer"
    TECH_LEAD = "Tech Lead"
    DEVOPS = "DevOps"
    MANAGER = "Project Manager"
    AUDITOR = "Auditor"


CHOICES = [(role.value, role.value) for role in Role]
LADDER = (Role.ENGINEER, Role.ON_CALL, Role.TECH_LEAD)  # each may what the ones before it may
IMPLIED = {
    Role.ON_CALL: {Role.ENGINEER},
    Role.TECH_LEAD: {Role.ON_CALL, Role.ENGINEER},
    Role.DEVOPS: {Role.ENGINEER},
}


def roles_of(user: Any) -> set[Role]:
    """The roles a person holds, the implied ones included; none for a stranger or a switched-off account.

    Asked of the database once per loaded user: load the user again to see a change.
    """
    if user is None or not user.is_active:
        return set()
    if not hasattr(user, "_roles"):
        known = {role.value for role in Role}
        named = {Role(name) for name in user.groups.values_list("name", flat=True) if name in known}
        user._roles = named.union(*(IMPLIED.get(role, set()) for role in named))
    return set(user._roles)


def holds(user: Any, role: Role | str) -> bool:
    return Role(role) in roles_of(user)


def holders(role: Role | str) -> QuerySet[Any]:
    """The active people whose word counts as this role's."""
    names = [other.value for other in Role if other == role or role in IMPLIED.get(other, set())]
    return get_user_model()._default_manager.filter(is_active=True, groups__name__in=names).distinct().order_by("pk")


def called(user: Any) -> str:
    """How a person is named on a page and in the ledger."""
    return "the portal" if user is None else (user.get_full_name() or user.get_username())


@dataclass(frozen=True)
class Who:
    """Who may make a move: `why_not(obj, person)` is "" or the reason in words."""

    label: str
    why_not: Callable[[Any, Person], str]

    def __call__(self, obj: Any, person: Any) -> bool:
        return not self.why_not(obj, person)


def at_least(role: Role, *, machine: bool = False) -> Who:
    """People who hold the role (or one above it); the machine too when `machine`."""

    def why_not(obj: Any, person: Person) -> str:
        if person is None:
            return "" if machine else "a person has to do this"
        return "" if holds(person, role) else f"this needs the role {role} or above, and you are {titles(person)}"

    return Who(f"{role}{' or the machine' if machine else ''}", why_not)


def any_of(*roles: Role) -> Who:
    """People who hold one of these roles."""

    def why_not(obj: Any, person: Person) -> str:
        if roles_of(person).intersection(roles):
            return ""
        return f"this needs one of the roles {', '.join(roles)}, and you are {titles(person)}"

    return Who(" / ".join(roles), why_not)


def titles(person: Person) -> str:
    if person is None:
        return "the machine"
    held = {group.name for group in person.groups.all()}
    return " and ".join(role.value for role in Role if role.value in held) or "without a role"


MACHINE = Who("machine", lambda obj, person: "" if person is None else "only the portal itself does this")
EVERYBODY_AT_WORK = any_of(Role.ENGINEER, Role.MANAGER)
