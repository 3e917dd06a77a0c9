"""advance(): the source state, the permission, the condition, the row; and who comes second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django_fsm import TransitionNotAllowed

from incidents import actions
from incidents.models import Incident
from portal.ledger.models import Ledger, rows_of
from portal.ledger.moves import MoveRefused, NotAllowed, advance, ago, past, who_may, why_not

NOON = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)


def test_it_moves_saves_and_records(incident: Incident, engineer: User) -> None:
    with transaction.atomic():
        row = advance(Incident.objects.locked(incident.pk), "mitigate", by=engineer, note="Flag off", flag="checkout")
    assert Incident.objects.get().state == "mitigating"
    assert (row.move, row.source, row.target, row.note) == ("mitigate", "acknowledged", "mitigating", "Flag off")
    assert row.data == {"flag": "checkout"}


@pytest.mark.django_db(transaction=True)
def test_it_needs_a_transaction(incident: Incident, engineer: User) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        advance(incident, "mitigate", by=engineer)


def test_wrong_state_says_who_was_faster(incident: Incident, engineer: User) -> None:
    with time_machine.travel(NOON, tick=False):
        actions.mitigate(incident.pk, by=engineer)
    with (
        time_machine.travel(NOON + timedelta(seconds=130), tick=False),
        pytest.raises(MoveRefused) as refused,
        transaction.atomic(),
    ):
        advance(Incident.objects.locked(incident.pk), "acknowledge", by=engineer)
    number = incident.pk
    said = f"Incident {number} was mitigated by Mei Tanaka 2 min ago: it cannot be acknowledged."
    assert (str(refused.value), refused.value.obj) == (said, incident)


def test_wrong_person(incident: Incident, manager: User) -> None:
    with pytest.raises(NotAllowed, match=r"Priya Raman cannot resolve .* you are Project Manager") as refused:
        actions.resolve(incident.pk, by=manager)
    assert isinstance(refused.value, PermissionDenied)
    assert Incident.objects.get().state == "acknowledged"
    assert Ledger.objects.count() == 2


def test_a_condition_says_why(incident: Incident, oncall: User) -> None:
    actions.resolve(incident.pk, by=oncall)
    actions.open_review(incident=incident, kind="override", subject="Rollback 7", url="/", reason="Down", by=oncall)
    resolved = Incident.objects.get()
    assert "A review is still open" in why_not(resolved, "close", oncall)
    with pytest.raises(MoveRefused, match="cannot be closed: A review is still open"):
        actions.close(incident.pk, by=oncall)


def test_why_not(incident: Incident, engineer: User, auditor: User) -> None:
    assert why_not(incident, "mitigate", engineer) == ""
    assert why_not(incident, "mitigate", None) == ""
    assert why_not(incident, "resolve", None) == "a person has to do this"
    assert "you are Auditor" in why_not(incident, "mitigate", auditor)
    assert "was acknowledged by Amara Okafor" in why_not(incident, "close", engineer)
    assert who_may(incident, "resolve").label == "Engineer"


def test_the_state_is_not_for_assigning(incident: Incident) -> None:
    with pytest.raises(AttributeError):
        incident.state = "closed"
    with pytest.raises(TransitionNotAllowed):
        incident.close()


@pytest.mark.django_db(transaction=True)
def test_second_of_two_is_told(incident: Incident, engineer: User, oncall: User) -> None:
    """Twelve people resolve the same incident in the same instant: one does, the others are told who was faster."""
    said: list[str] = []
    barrier = Barrier(12)

    def resolve(by: User) -> None:
        barrier.wait()
        try:
            actions.resolve(incident.pk, by=by)
            said.append("")
        except MoveRefused as refused:
            said.append(str(refused))
        finally:
            connection.close()

    threads = [Thread(target=resolve, args=(each,)) for each in (engineer, oncall) * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("") == 1
    assert sum(f"Incident {incident.pk} was resolved by" in words for words in said) == 11
    assert rows_of(incident).filter(move="resolve").count() == 1


def test_words() -> None:
    assert [past(move) for move in ("close", "cancel", "hold", "abort")] == [
        "closed",
        "cancelled",
        "put on hold",
        "aborted",
    ]
    assert [ago(seconds) for seconds in (0, 59, 60, 119, 7199, 7200, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 min",
        "119 min",
        "2 h",
        "2 d",
    ]
