"""As an auditor gives it. What it finds is held by tests/portal/ledger/test_ledger.py, forgery by forgery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from portal.ledger.models import Ledger
from rollbacks import runner
from rollbacks.models import Rollback
from tests.rollbacks.commands.conftest import Give, Manage


def test_it_tells_what_was_forged(
    give: Give, manage: Manage, approved: Rollback, forging: Callable[[], AbstractContextManager[None]]
) -> None:
    """A whole rollback leaves a sound ledger. Then a vote's note is rewritten, the last row cut off, and a state set
    past it."""
    runner.carry(approved.run.pk)
    rows = Ledger.objects.count()
    said = give("verify_ledger", "--as", "auditor", "--json")
    assert (said.code, said.json["sound"], said.json["rows"]) == (0, True, rows)
    assert rows > 15

    with forging():
        Ledger.objects.filter(move="vote approve").update(note="Nothing to see here")
        Ledger.objects.filter(number=rows).delete()
    Rollback.objects.update(state="completed")
    said = manage("verify_ledger", "--json")
    assert (said.code, said.json["sound"]) == (1, False)
    for wrong in (
        f"was changed after it was written (Rollback {approved.pk} vote approve, Henrik Lindqvist)",
        f"the last 1 rows are missing: the head is at row {rows}",
        f"Rollback {approved.pk} is completed, but its last ledger row says",
    ):
        assert wrong in said.err
        assert any(wrong in each for each in said.json["wrong"])
