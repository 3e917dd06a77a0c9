from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks import actions, checklist
from rollbacks.models import ChecklistTick, Rollback
from tests.conftest import again

ClientFor = Callable[[User], Client]


def url(rollback: Rollback, item: str = "issue") -> str:
    return f"/rollbacks/{rollback.pk}/withdraw/{item}/"


@pytest.fixture
def ticked(planned: Rollback, oncall: User) -> Rollback:
    return actions.tick(planned.pk, by=oncall, item="issue", note="A bad merge")


def is_open(rollback: Rollback) -> bool:
    listed = checklist.read(again(rollback))
    item = listed.item("issue") if listed else None
    assert item is not None
    return item.is_open


def test_it_works(client_for: ClientFor, ticked: Rollback, engineer: User) -> None:
    client_for(engineer).post(url(ticked), {"note": "It was the disk"})
    assert is_open(ticked)
    assert [(tick.note, tick.withdrawn) for tick in ChecklistTick.objects.all()] == [
        ("A bad merge", False),
        ("It was the disk", True),
    ], "both words stay"
    assert [row.move for row in rows_of(ticked)[:2]] == ["withdraw", "tick"]
    actions.tick(ticked.pk, by=engineer, item="issue", note="The disk")
    assert not is_open(ticked)


def test_wrong_method(client_for: ClientFor, ticked: Rollback, engineer: User) -> None:
    assert client_for(engineer).get(url(ticked)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, ticked: Rollback, stranger: User, auditor: User) -> None:
    assert client.post(url(ticked), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        assert client_for(person).post(url(ticked), {"note": "x"}).status_code == 403
    assert not is_open(ticked)


def test_wrong_state(client_for: ClientFor, ticked: Rollback, engineer: User) -> None:
    shown = client_for(engineer).post(url(ticked, "scope"), {"note": "No"}, follow=True).content.decode()
    assert "“Determine rollback scope” is not ticked by a person: there is nothing to withdraw." in shown


def test_bad_input(client_for: ClientFor, ticked: Rollback, engineer: User) -> None:
    client = client_for(engineer)
    assert "Say what you know about" in client.post(url(ticked), {"note": ""}, follow=True).content.decode()
    assert client.post(url(ticked, "lunch"), {"note": "x"}).status_code == 404
    assert not is_open(ticked)
