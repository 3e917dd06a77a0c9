"""As an auditor gives it. What it finds is held by tests/portal/ledger/test_ledger.py, forgery by forgery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from portal.ledger.models import Ledger
from rollbacks import runner
from rollbacks.models import Rollback
from tests.rollbacks.commands.conftest import Manage


def test_a_whole_rollback_leaves_a_sound_ledger(manage: Manage, approved: Rollback) -> None:
    runner.carry(approved.run.pk)
    said = manage("verify_ledger", "--as", "auditor", "--json")
    assert (said.code, said.json["sound"], said.json["rows"]) == (0, True, Ledger.objects.count())
    assert said.json["rows"] > 15


def test_what_was_forged_is_told(
    manage: Manage, approved: Rollback, forging: Callable[[], AbstractContextManager[None]]
) -> None:
    """A vote's note rewritten, the last row cut off, and a state set past the ledger."""
    rows = Ledger.objects.count()
    with forging():
        Ledger.objects.filter(number=3).update(note="Nothing to see here")
        Ledger.objects.filter(number=rows).delete()
    Rollback.objects.update(state="completed")
    said = manage("verify_ledger", "--json")
    assert (said.code, said.json["sound"]) == (1, False)
    for wrong in (
        "row 3 was changed after it was written",
        f"the last 1 rows are missing: the head is at row {rows}",
        f"Rollback {approved.pk} is completed, but its last ledger row says awaiting_approval",
    ):
        assert wrong in said.err
        assert any(each.startswith(wrong) for each in said.json["wrong"])
