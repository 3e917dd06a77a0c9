"""A rollback takes its incident with it, and never stumbles over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from incidents import actions
from incidents.models import Incident
from portal.ledger.models import rows_of

IncidentIn = Callable[[str], Incident]


@pytest.mark.parametrize(
    ("state", "move", "after"),
    [
        ("declared", "mitigate", "mitigating"),
        ("acknowledged", "mitigate", "mitigating"),
        ("monitoring", "mitigate", "mitigating"),
        ("mitigating", "mitigate", "mitigating"),
        ("mitigating", "monitor", "monitoring"),
        ("declared", "monitor", "declared"),
        ("monitoring", "reopen", "mitigating"),
        ("resolved", "reopen", "mitigating"),
        ("mitigating", "reopen", "mitigating"),
        ("closed", "mitigate", "closed"),
        ("closed", "reopen", "mitigating"),
        ("cancelled", "reopen", "cancelled"),
        ("mitigating", "", "mitigating"),
    ],
)
def test_it_moves_where_it_can(incident_in: IncidentIn, state: str, move: str, after: str) -> None:
    incident = incident_in(state)
    rows = rows_of(incident).count()
    actions.carry(incident.pk, move, note="Rollback 7 of agents was started.", url="/rollbacks/7/")
    assert Incident.objects.get().state == after
    entry = incident.timeline.order_by("pk").last()
    assert entry is not None
    assert (entry.text, entry.url, entry.kind, entry.by) == (
        "Rollback 7 of agents was started.",
        "/rollbacks/7/",
        "rollback",
        None,
    )
    assert rows_of(incident).count() == rows + (state != after)


def test_without_words(incident_in: IncidentIn) -> None:
    incident = incident_in("declared")
    actions.carry(incident.pk, "mitigate")
    assert [entry.text for entry in incident.timeline.all()][-1] == "The portal started mitigating."
    actions.carry(incident.pk, "mitigate")
    assert incident.timeline.count() == 2
