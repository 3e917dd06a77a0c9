"""The chain holds, the database keeps it, and verify_ledger finds what went past both."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from threading import Thread

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from incidents import actions
from incidents.models import Incident
from portal.ledger.models import FIRST, Head, Ledger, record, rows_of

Forging = Callable[[], AbstractContextManager[None]]
Verify = Callable[..., tuple[int, str]]


def test_the_chain(incident: Incident, oncall: User) -> None:
    first, second = Ledger.objects.order_by("number")
    assert (first.number, first.previous) == (1, FIRST)
    assert (second.number, second.previous) == (2, first.hash)
    assert second.hash == second.digest()
    assert (second.kind, second.object_id, second.label) == ("incident", str(incident.pk), f"Incident {incident.pk}")
    assert (second.actor, second.actor_name, second.note) == (oncall, "Amara Okafor", "On it")
    head = Head.objects.get()
    assert (head.number, head.hash) == (2, second.hash)
    assert list(rows_of(incident)) == [second, first]


@pytest.mark.django_db(transaction=True)
def test_a_row_needs_the_transaction_of_its_deed(incident: Incident) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        record(incident, "note", by=None)


def test_a_deed_that_fails_leaves_no_row(incident: Incident) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        record(incident, "note", by=None)
        raise ZeroDivisionError
    assert Ledger.objects.count() == 2
    assert Head.objects.get().number == 2


@pytest.mark.django_db(transaction=True)
def test_writers_queue(incident: Incident) -> None:
    """Ten at once: no number twice, no gap, a sound chain."""

    def write() -> None:
        try:
            for _ in range(3):
                actions.note(incident.pk, by=None, text="Another one")
        finally:
            connection.close()

    threads = [Thread(target=write) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(Ledger.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 33))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_ledger SET note = 'nothing happened' WHERE number = 1",
        "DELETE FROM ledger_ledger WHERE number = 2",
        "DELETE FROM ledger_ledger",
    ],
)
def test_the_database_itself_refuses(incident: Incident, statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match="ledger_ledger is append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert Ledger.objects.count() == 2


def test_the_orm_is_refused_too(incident: Incident) -> None:
    row = Ledger.objects.get(number=1)
    row.note = "nothing happened"
    for deed in (row.save, row.delete, lambda: Ledger.objects.update(note=""), Ledger.objects.all().delete):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            deed()


@pytest.mark.django_db(transaction=True)
def test_truncate_is_refused(incident: Incident) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
        cursor.execute("TRUNCATE ledger_ledger")


# --- verify_ledger --------------------------------------------------------------------------------------------------


def test_sound(incident: Incident, verify: Verify) -> None:
    assert verify() == (0, "2 rows, sound\n")
    code, said = verify("--json")
    head = Head.objects.get()
    assert (code, json.loads(said)) == (0, {"rows": 2, "sound": True, "head": head.hash, "wrong": []})


def test_an_empty_ledger_is_sound(db: None, verify: Verify) -> None:
    assert verify() == (0, "0 rows, sound\n")


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda rows: rows.filter(number=1).update(note="Nothing"), "row 1 was changed after it was written"),
        (lambda rows: rows.filter(number=2).update(actor_name="Mei"), "row 2 was changed after it was written"),
        (lambda rows: rows.filter(number=1).delete(), "row 1 is missing"),
        (lambda rows: rows.filter(number=2).delete(), "row 2 is missing"),
        (lambda rows: rows.filter(number=3).delete(), "the last 1 rows are missing: the head is at row 3"),
        (lambda rows: rows.delete(), "the last 3 rows are missing"),
    ],
)
def test_what_was_forged_is_found(
    incident: Incident, forging: Forging, verify: Verify, forge: Callable[[object], object], said: str
) -> None:
    actions.note(incident.pk, by=None, text="A third row")
    with forging():
        forge(Ledger.objects.all())
    code, shown = verify()
    assert code == 1
    assert said in shown
    assert "NOT sound" in shown


def test_a_row_with_a_new_hash_is_found(incident: Incident, forging: Forging, verify: Verify) -> None:
    """Who recomputes the hash of one row breaks the link of the next."""
    row = Ledger.objects.get(number=1)
    row.note = "Nothing"
    row.hash = row.digest()
    with forging():
        row.save()
    code, said = verify()
    assert (code, "row 2 does not follow on row 1" in said) == (1, True)


def test_a_forged_last_row_is_found(incident: Incident, forging: Forging, verify: Verify) -> None:
    row = Ledger.objects.get(number=2)
    row.note = "Nothing"
    row.hash = row.digest()
    with forging():
        row.save()
    code, said = verify()
    assert (code, "the head is at row 2" in said) == (1, True)


def test_a_row_past_the_head_is_found(incident: Incident, verify: Verify) -> None:
    last = Ledger.objects.get(number=2)
    forged = Ledger(number=3, at=last.at, actor_name="Nobody", kind="incident", object_id="1", label="x", move="close")
    forged.previous = last.hash
    forged.hash = forged.digest()
    forged.save(force_insert=True)
    code, said = verify()
    assert (code, "the head is at row 2, and the last row is 3" in said) == (1, True)


def test_a_state_changed_past_the_ledger_is_found(incident: Incident, verify: Verify) -> None:
    Incident.objects.filter(pk=incident.pk).update(state="closed")
    code, said = verify("--json")
    found = f"Incident {incident.pk} is closed, but its last ledger row says acknowledged"
    assert code == 1
    assert json.loads(said.splitlines()[0])["wrong"] == [found]


def test_an_object_without_a_row_is_found(incident: Incident, verify: Verify) -> None:
    other = Incident.objects.create(
        title="Slipped in", severity="low", scope="config", declared_by=incident.declared_by, respond_by=timezone.now()
    )
    code, said = verify()
    assert code == 1
    assert f"Incident {other.pk} is declared, but no ledger row says how it got there" in said


def test_a_long_list_is_cut(incident: Incident, forging: Forging, verify: Verify) -> None:
    for _ in range(150):
        with transaction.atomic():
            record(incident, "note", by=None)
    with forging():
        Ledger.objects.update(note="forged")
    code, said = verify()
    assert code == 1
    assert "… and more" in said
    assert len(said.splitlines()) == 102


# --- the admin ------------------------------------------------------------------------------------------------------


def test_the_admin_shows_it_and_changes_nothing(
    incident: Incident, auditor: User, client_for: Callable[[User], Client]
) -> None:
    User.objects.filter(pk=auditor.pk).update(is_staff=True, is_superuser=True)  # not even a superuser
    client = client_for(auditor)
    listed = client.get("/admin/ledger/ledger/?q=acknowledge&move=acknowledge").content.decode()
    assert client.get("/admin/ledger/ledger/", {"q": "On it"}).content.decode().count("declared → acknowledged") == 1
    assert "Add ledger" not in listed
    assert client.get("/admin/ledger/ledger/1/change/").status_code == 200
    assert client.post("/admin/ledger/ledger/1/change/", {"note": "x"}).status_code == 403
    assert client.post("/admin/ledger/ledger/1/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/ledger/ledger/add/").status_code == 403
    for page in ("incident", "timelineentry", "review"):
        assert client.get(f"/admin/incidents/{page}/", {"q": "x"}).status_code == 200
        assert client.get(f"/admin/incidents/{page}/add/").status_code == 403
