"""The ledger: one row for every move that anybody or anything made, chained by hashes, refused by the database
when somebody tries to change or delete a row (migration 0002)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from portal.ledger.roles import Person, called

FIRST = "0" * 64
AT_DOOR: ContextVar[dict[str, str]] = ContextVar("at_door", default={})  # noqa: B039


class Head(models.Model):
    """The end of the chain. Its one row is what writers queue at (take_turn), and what shows that the last rows were
    cut off."""

    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=FIRST)

    def __str__(self) -> str:
        return f"row {self.number}"


class Ledger(models.Model):
    """One move. `source` and `target` are states; both are empty for a deed that is no transition (a vote, a step)."""

    number = models.PositiveBigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    actor_name = models.CharField(max_length=200)
    kind = models.CharField(max_length=40, help_text="what was moved: rollback, incident, system…")
    object_id = models.CharField(max_length=40)
    label = models.CharField(max_length=200)
    move = models.CharField(max_length=40)
    source = models.CharField(max_length=40, blank=True)
    target = models.CharField(max_length=40, blank=True)
    note = models.TextField(blank=True)
    details = models.TextField(default="{}", help_text="JSON")
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["-number"]
        verbose_name = "ledger row"
        indexes = [
            models.Index(fields=["kind", "object_id", "number"]),
            models.Index(fields=["kind", "at", "number"]),
            models.Index(fields=["move", "at", "number"]),
            models.Index(fields=["at", "number"]),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.label} {self.move}"

    @property
    def data(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.details)
        return loaded

    def digest(self) -> str:
        """sha256 over the row and the hash of the row before it."""
        said = [
            self.number, self.at.astimezone(UTC).isoformat(),
            self.actor_id, self.actor_name, self.kind, self.object_id, self.label, self.move, self.source, self.target,
            self.note, self.details, self.previous,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()


def kind_of(obj: models.Model) -> str:
    return str(obj._meta.model_name)


def take_turn() -> Head:
    """The end of the chain, held until the transaction ends. Whoever is going to hold another row takes it first: in
    one queue for all, no two can wait for each other in a circle. (SQLite has this queue by itself.)"""
    head = Head.objects.select_for_update().filter(pk=1).first()
    if head is None:
        Head.objects.get_or_create(pk=1)
        head = Head.objects.select_for_update().get(pk=1)
    return head


@contextmanager
def came_by(**door: str) -> Iterator[None]:
    """What people do inside is recorded with how they came in: a name that was only typed is not proof of a person."""
    before = AT_DOOR.set(door)
    try:
        yield
    finally:
        AT_DOOR.reset(before)


def record(
    obj: models.Model, move: str, *, by: Person, note: str = "", source: str = "", target: str = "", **details: Any
) -> Ledger:
    """Write one row, in the caller's transaction (which it needs: the deed and its row stand or fall together).

    Raises TransactionManagementError outside a transaction.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("a ledger row is written in the transaction of its deed")
    head = take_turn()
    if by is not None:
        details = {**AT_DOOR.get(), **details}
    row = Ledger(
        number=head.number + 1,
        at=timezone.now(),
        actor=by,
        actor_name=called(by)[:200],
        kind=kind_of(obj),
        object_id=str(obj.pk),
        label=str(obj)[:200],
        move=move,
        source=source,
        target=target,
        note=note.replace("\x00", ""),
        details=json.dumps(details, sort_keys=True, ensure_ascii=False, default=str),
        previous=head.hash,
    )
    row.hash = row.digest()
    row.save(force_insert=True)
    head.number, head.hash = row.number, row.hash
    head.save()
    return row


def rows_of(obj: models.Model) -> models.QuerySet[Ledger]:
    return Ledger.objects.filter(kind=kind_of(obj), object_id=str(obj.pk))
