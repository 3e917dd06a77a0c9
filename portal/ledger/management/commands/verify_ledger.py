from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db.models import CharField, F, OuterRef, Q, Subquery
from django.db.models.functions import Cast

from portal.ledger.models import FIRST, Head, Ledger
from portal.ledger.moves import StateModel

SHOWN = 100  # findings of each kind: after a cut, every row behind it is wrong


class Command(BaseCommand):
    help = "Recomputes the ledger's chain, and compares every state with its last row. Exit code 1 if it is not sound."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
        same = parser.add_argument_group(
            "taken as by the other commands", "they change nothing here: anybody may verify"
        )
        same.add_argument("--as", dest="username", metavar="USERNAME")
        same.add_argument("--wait", action="store_true")
        same.add_argument("--local", action="store_true")

    def handle(self, *, json: bool, **options: Any) -> None:
        chain = Chain()
        wrong = [*first(chain.check()), *first(states_without_a_row())]
        for line in wrong:
            self.stderr.write(line)
        said = f"{chain.number} rows, sound" if not wrong else f"{chain.number} rows, NOT sound ({len(wrong)} found)"
        self.stdout.write(as_json(chain, wrong) if json else said)
        if wrong:
            sys.exit(1)


def as_json(chain: Chain, wrong: list[str]) -> str:
    return json.dumps({"rows": chain.number, "sound": not wrong, "head": chain.hash, "wrong": wrong})


def first(findings: Iterator[str]) -> Iterator[str]:
    """Not a million lines when one row is missing near the start. All rows are looked at in any case."""
    for count, finding in enumerate(findings):
        if count < SHOWN:
            yield finding
        elif count == SHOWN:
            yield "… and more"


class Chain:
    """Follows the rows from the first one, a few in memory at a time."""

    def __init__(self) -> None:
        self.number, self.hash = 0, FIRST

    def check(self) -> Iterator[str]:
        """What is not as it was written. Rows may be added meanwhile: the head is read after the rows before it."""
        while True:
            before = self.number
            for row in Ledger.objects.filter(number__gt=self.number).order_by("number").iterator(chunk_size=2000):
                yield from self.follow(row)
            head = Head.objects.filter(pk=1).first() or Head()
            if head.number <= self.number or self.number == before:
                break
        if head.number > self.number:
            yield f"the last {head.number - self.number} rows are missing: the head is at row {head.number}"
        elif (head.number, head.hash) != (self.number, self.hash):
            yield f"the head is at row {head.number}, and the last row is {self.number}: one of them was changed"

    def follow(self, row: Ledger) -> Iterator[str]:
        if row.number != self.number + 1:
            yield f"row {self.number + 1} is missing (the next one is row {row.number})"
        elif row.previous != self.hash:
            yield f"row {row.number} does not follow on row {self.number}: one of them was changed"
        if row.digest() != row.hash:
            yield f"row {row.number} was changed after it was written ({row.label} {row.move}, {row.actor_name})"
        self.number, self.hash = row.number, row.hash


def states_without_a_row() -> Iterator[str]:
    """Objects whose state is not where their last ledger row left it: somebody changed it past advance()."""
    for model in apps.get_models():
        if not issubclass(model, StateModel):
            continue
        rows = Ledger.objects.filter(kind=model._meta.model_name, object_id=OuterRef("key")).exclude(target="")
        objects = model._default_manager.annotate(key=Cast("pk", CharField()))
        objects = objects.annotate(said=Subquery(rows.order_by("-number").values("target")[:1]))
        for obj in objects.filter(Q(said=None) | ~Q(state=F("said"))).iterator():
            said = f"its last ledger row says {obj.said}" if obj.said else "no ledger row says how it got there"
            yield f"{obj} is {obj.state}, but {said}"
