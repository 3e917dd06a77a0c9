from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from incidents import actions, postmortems
from incidents.models import Incident, PostMortem, Review
from portal.ledger.roles import Role
from tests.conftest import look_back, person

PATHS = {  # how an incident comes to a state
    "declared": [],
    "acknowledged": ["acknowledge"],
    "mitigating": ["mitigate"],
    "monitoring": ["mitigate", "monitor"],
    "resolved": ["acknowledge", "resolve"],
    "closed": ["acknowledge", "resolve", "close"],
    "cancelled": ["cancel"],
}


@pytest.fixture
def incident_in(oncall: User) -> Callable[[str], Incident]:
    """An incident in this state, brought there by the on-call engineer."""

    def make(state: str) -> Incident:
        incident = actions.declare(by=oncall, title="Checkout answers 500", severity="high", scope="multiple")
        for move in PATHS[state]:
            if move == "close":
                look_back(incident, oncall, person("reader", "Rosa Reads", Role.ENGINEER))
            getattr(actions, move)(incident.pk, by=oncall, note="because of the test")
        incident = Incident.objects.get(pk=incident.pk)
        assert incident.state == state
        return incident

    return make


@pytest.fixture
def review_of() -> Callable[..., Review]:
    def make(incident: Incident | None, by: User, asked_by: User | None = None) -> Review:
        return actions.open_review(
            incident=incident,
            kind="override",
            subject="Rollback 7 of agents",
            url="/contacts/",
            reason="Down",
            by=by,
            asked_by=asked_by,
        )

    return make


@pytest.fixture
def postmortem(incident_in: Callable[[str], Incident], oncall: User) -> PostMortem:
    """A draft of a resolved incident, begun by the on-call engineer; nothing is written yet."""
    return postmortems.begin(incident_in("resolved").pk, by=oncall)


@pytest.fixture
def in_review(postmortem: PostMortem, oncall: User) -> PostMortem:
    """Written and submitted by the on-call engineer."""
    section = postmortem.sections.get(key="summary")
    postmortems.write(section.pk, by=oncall, body="A bad release answered 500.", version=0)
    return postmortems.submit(postmortem.pk, by=oncall)


@pytest.fixture
def queries() -> Callable[[Client, str], int]:
    """How many the database is asked for a page."""

    def count(client: Client, url: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    return count
