"""Whose word counts as whose."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from portal.ledger.roles import EVERYBODY_AT_WORK, MACHINE, Role, any_of, at_least, called, holders, holds, titles

WORD = {  # row: the person, column: whose word theirs counts as
    "engineer": {Role.ENGINEER},
    "oncall": {Role.ENGINEER, Role.ON_CALL},
    "tech_lead": {Role.ENGINEER, Role.ON_CALL, Role.TECH_LEAD},
    "devops": {Role.ENGINEER, Role.DEVOPS},
    "manager": {Role.MANAGER},
    "auditor": {Role.AUDITOR},
    "stranger": set(),
}


@pytest.mark.parametrize("who", list(WORD))
def test_the_ladder(who: str, request: pytest.FixtureRequest) -> None:
    user: User = request.getfixturevalue(who)
    assert {role for role in Role if holds(user, role)} == WORD[who]
    assert {role for role in Role if user in holders(role)} == WORD[who]
    for role in Role:
        assert at_least(role)(None, user) == (role in WORD[who])


def test_several_roles(oncall: User) -> None:
    oncall.groups.add(Group.objects.create(name=Role.AUDITOR), Group.objects.create(name="Chess club"))
    assert {role for role in Role if holds(oncall, role)} == {Role.ENGINEER, Role.ON_CALL, Role.AUDITOR}
    assert titles(oncall) == "On-Call Engineer and Auditor"
    assert list(holders(Role.ENGINEER)) == [oncall]


def test_a_switched_off_account_has_no_word(tech_lead: User) -> None:
    tech_lead.is_active = False
    tech_lead.save()
    assert not holds(tech_lead, Role.ENGINEER)
    assert not holders(Role.ENGINEER).exists()


def test_a_superuser_without_a_role_has_no_word(stranger: User) -> None:
    stranger.is_superuser = True
    assert not holds(stranger, Role.ENGINEER)
    assert titles(stranger) == "without a role"


def test_the_machine(engineer: User) -> None:
    assert MACHINE(None, None)
    assert MACHINE.why_not(None, engineer) == "only the portal itself does this"
    assert at_least(Role.ENGINEER, machine=True)(None, None)
    assert not at_least(Role.ENGINEER)(None, None)
    assert not EVERYBODY_AT_WORK(None, None)
    assert (titles(None), called(None)) == ("the machine", "the portal")


def test_reasons_are_in_words(manager: User, auditor: User) -> None:
    assert EVERYBODY_AT_WORK(None, manager)
    said = any_of(Role.DEVOPS, Role.TECH_LEAD).why_not(None, auditor)
    assert said == "this needs one of the roles DevOps, Tech Lead, and you are Auditor"
    said = at_least(Role.TECH_LEAD).why_not(None, manager)
    assert said == "this needs the role Tech Lead or above, and you are Project Manager"


def test_names(stranger: User) -> None:
    assert called(stranger) == "Sam Nobody"
    assert called(User(username="bare")) == "bare"
