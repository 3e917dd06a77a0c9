"""An overdue action item reminds its owner once, and then goes to the Tech Lead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User

from incidents import action_items, auditor, escalation
from incidents.models import ActionItem, EmergencyContact, Event, Incident, Notification, TimelineEntry, Way
from portal.ledger.models import rows_of
from portal.ledger.roles import Role
from rollbacks import tasks

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
Clock = time_machine.Traveller
Item = Callable[..., ActionItem]


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def item(clock: Clock, incident_in: Callable[[str], Incident], oncall: User, engineer: User) -> Item:
    """item(): to be done by the engineer within the hour."""

    def make(owner: User | None = engineer, term: str = "immediate", hours: int = 1) -> ActionItem:
        return action_items.add_item(
            incident_pk=incident_in("resolved").pk,
            by=oncall,
            title="Verify system stability",
            term=term,
            owner=owner,
            due_at=NOW + timedelta(hours=hours),
        )

    return make


def told() -> list[tuple[str, str]]:
    """(event, who), in their order."""
    events = [Event.REMINDER, Event.ESCALATED]
    copies = Notification.objects.filter(message__event__in=events, way=Way.BROWSER).order_by("pk")
    return [(each.message.event, each.to) for each in copies.select_related("message", "person")]


def test_the_owner_once_and_then_the_tech_lead(clock: Clock, item: Item, tech_lead: User) -> None:
    auditor.audit()
    made = item()
    seen = []
    for minutes in range(30, 600, 30):
        clock.move_to(NOW + timedelta(minutes=minutes))
        before = len(told())
        tasks.remind()
        tasks.remind()
        seen += [(minutes, *each) for each in told()[before:]]
    assert seen == [(60, "reminder", "Mei Tanaka"), (120, "escalated", "Henrik Lindqvist")]
    assert made.incident is not None
    [line] = made.incident.timeline.filter(kind=TimelineEntry.Kind.ESCALATION)
    assert line.text == (
        "“Verify system stability” is overdue since 2026-03-02 11:00 UTC, with Mei Tanaka: "
        "it goes to every Tech Lead (Henrik Lindqvist)."
    )
    assert line.url == made.get_absolute_url()
    assert [row.move for row in rows_of(made).order_by("number")] == ["add", "escalate"]
    clock.move_to(NOW + timedelta(minutes=120))
    assert not [each for each in auditor.findings(NOW, NOW + timedelta(minutes=120)) if "told nobody" in each]


def test_what_has_a_week_is_waited_for_a_day_longer(clock: Clock, item: Item, tech_lead: User) -> None:
    item(term="long", hours=1)
    seen = []
    for hours in range(30):
        clock.move_to(NOW + timedelta(hours=hours))
        before = len(told())
        tasks.remind()
        seen += [(hours, event) for event, _ in told()[before:]]
    assert seen == [(1, "reminder"), (25, "escalated")]


@pytest.mark.parametrize("move", ["finish", "drop"])
def test_what_is_done_reminds_nobody_and_its_reminder_is_not_sent_late(
    clock: Clock, item: Item, engineer: User, tech_lead: User, move: str
) -> None:
    made = item()
    clock.shift(3600)
    tasks.remind()
    getattr(action_items, move)(made.pk, by=engineer, note="it is stable")
    clock.shift(7200)
    tasks.remind()
    assert told() == [("reminder", "Mei Tanaka")]
    assert {each.state for each in Notification.objects.filter(message__event=Event.REMINDER)} == {"superseded"}


def test_another_date_begins_anew(clock: Clock, item: Item, engineer: User, tech_lead: User) -> None:
    made = item()
    clock.shift(3600)
    tasks.remind()
    later = NOW + timedelta(hours=5)
    action_items.change_item(made.pk, by=engineer, title=made.title, term=made.term, owner=engineer, due_at=later)
    clock.move_to(NOW + timedelta(hours=4))
    tasks.remind()
    assert len(told()) == 1
    clock.move_to(later)
    tasks.remind()
    assert told() == [("reminder", "Mei Tanaka")] * 2


def test_without_an_owner_it_goes_to_the_tech_lead_of_the_contacts_once(
    clock: Clock, item: Item, tech_lead: User, tech_lead2: User
) -> None:
    EmergencyContact.objects.create(role=Role.TECH_LEAD, duty="x", person=tech_lead2)
    item(owner=None)
    for _ in range(3):
        clock.shift(3600)
        tasks.remind()
    assert told() == [("escalated", "Salma Haddad")]


def test_who_is_given_it_late_has_its_time_too(clock: Clock, item: Item, engineer: User, tech_lead: User) -> None:
    made = item(owner=None)
    clock.shift(3600)
    tasks.remind()
    words: dict[str, Any] = {"title": made.title, "term": made.term, "owner": engineer, "due_at": made.due_at}
    action_items.change_item(made.pk, by=tech_lead, **words)
    for _ in range(8):
        tasks.remind()
        clock.shift(1800)
    assert told() == [("escalated", "Henrik Lindqvist")] * 2
    assert rows_of(made).filter(move="escalate").count() == 2


def test_an_owner_who_has_left_is_not_waited_for(clock: Clock, item: Item, engineer: User, tech_lead: User) -> None:
    item()
    User.objects.filter(pk=engineer.pk).update(is_active=False)
    clock.shift(3600)
    tasks.remind()
    assert told() == [("escalated", "Henrik Lindqvist")]


def test_a_tech_lead_is_not_told_of_their_own_by_the_contacts(
    clock: Clock, item: Item, tech_lead: User, tech_lead2: User
) -> None:
    EmergencyContact.objects.create(role=Role.TECH_LEAD, duty="x", person=tech_lead)
    item(owner=tech_lead)
    for _ in range(3):
        clock.shift(3600)
        tasks.remind()
    assert told() == [("reminder", "Henrik Lindqvist"), ("escalated", "Salma Haddad")]


def test_it_is_never_critical_and_one_look_asks_little(
    clock: Clock, item: Item, tech_lead: User, django_assert_num_queries: Any
) -> None:
    item()
    clock.shift(3600)
    tasks.remind()
    assert {each.message.severity for each in Notification.objects.filter(message__event=Event.REMINDER)} == {"medium"}
    with django_assert_num_queries(2):
        escalation.remind()
