"""What nobody answers goes to the next contact, and the next, until somebody does; nobody is told twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from incidents import actions, auditor, delivery, escalation
from incidents.models import (
    EmergencyContact,
    Event,
    Incident,
    Message,
    Notification,
    Preference,
    Rotation,
    TimelineEntry,
    Turn,
    Way,
)
from portal.ledger.models import rows_of
from portal.ledger.roles import Role
from rollbacks import actions as rollbacks
from rollbacks import notices, tasks
from rollbacks.models import Rollback
from tests.conftest import again

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
Clock = time_machine.Traveller


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def contacts(oncall: User, tech_lead: User, manager: User, devops: User) -> list[EmergencyContact]:
    """The guide's four, in its order."""
    held = [(Role.ON_CALL, oncall), (Role.TECH_LEAD, tech_lead), (Role.MANAGER, manager), (Role.DEVOPS, devops)]
    return [
        EmergencyContact.objects.create(role=role, duty="x", person=person, order=order)
        for order, (role, person) in enumerate(held)
    ]


def declared(by: User, severity: str = "critical") -> Incident:
    return actions.declare(by=by, title="Agents answer 500", severity=severity, scope="multiple")


def told() -> list[str]:
    """Whom the escalations went to, in their order."""
    copies = Notification.objects.filter(message__event=Event.ESCALATED, way=Way.BROWSER)
    return [each.to for each in copies.select_related("person").order_by("pk")]


def lines(incident: Incident) -> list[str]:
    return [each.text for each in incident.timeline.filter(kind=TimelineEntry.Kind.ESCALATION)]


def test_each_contact_has_the_severitys_time(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, auditor_looks: None
) -> None:
    incident = declared(engineer)
    seen = []
    for minute in range(5, 66, 5):
        clock.move_to(NOW + timedelta(minutes=minute))
        before = len(told())
        tasks.escalate()
        seen += [(minute, each) for each in told()[before:]]
    assert seen == [(15, "Henrik Lindqvist"), (30, "Priya Raman"), (45, "Diego Ferreira")]
    assert lines(incident) == [
        "Nobody has acknowledged it for 15 min: it goes to Tech Lead (Henrik Lindqvist).",
        "Nobody has acknowledged it for 30 min: it goes to Project Manager (Priya Raman).",
        "Nobody has acknowledged it for 45 min: it goes to DevOps (Diego Ferreira).",
    ]
    assert rows_of(incident).filter(move="escalate").count() == 3
    assert auditor.audit().findings == []


@pytest.fixture
def auditor_looks(db: None, clock: Clock) -> None:
    """The auditor has looked before: it asks of what comes afterwards. No channel is set up, so nothing waits."""
    auditor.audit()
    User.objects.update(email="")


def test_the_second_round_takes_its_time(clock: Clock, contacts: list[EmergencyContact], engineer: User) -> None:
    declared(engineer)
    seen = []
    for minute in range(5, 200, 5):
        clock.move_to(NOW + timedelta(minutes=minute))
        before = len(told())
        tasks.escalate()
        seen += [minute] * (len(told()) - before)
    assert seen == [15, 30, 45, 75, 105, 135, 195]


@pytest.mark.parametrize(("severity", "minutes"), [("critical", 15), ("high", 60), ("medium", 240)])
def test_nobody_is_called_before_the_severitys_time_is_over(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, severity: str, minutes: int
) -> None:
    declared(engineer, severity)
    clock.move_to(NOW + timedelta(minutes=minutes, seconds=-1))
    tasks.escalate()
    assert told() == []
    clock.shift(1)
    tasks.escalate()
    assert told() == ["Henrik Lindqvist"]


@pytest.mark.parametrize("move", ["acknowledge", "mitigate", "cancel"])
def test_it_ends_when_somebody_answers_and_what_is_not_sent_yet_is_not_sent_any_more(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, oncall: User, move: str
) -> None:
    incident = declared(engineer)
    clock.shift(15 * 60)
    tasks.escalate()
    getattr(actions, move)(incident.pk, by=oncall, note="a false alarm")
    clock.shift(3600)
    tasks.escalate()
    assert told() == ["Henrik Lindqvist"]
    copies = Notification.objects.filter(message__event=Event.ESCALATED)
    assert {each.state for each in copies} == {"superseded"}
    assert len(copies) == 2, "by mail, and in the portal"


def test_looking_again_tells_nobody_again(clock: Clock, contacts: list[EmergencyContact], engineer: User) -> None:
    incident = declared(engineer)
    clock.shift(15 * 60)
    for _ in range(5):
        tasks.escalate()
    assert told() == ["Henrik Lindqvist"]
    assert len(lines(incident)) == 1


def test_a_scheduler_that_was_down_skips_nobody(clock: Clock, contacts: list[EmergencyContact], engineer: User) -> None:
    declared(engineer)
    clock.shift(3 * 3600)
    for _ in range(3):
        tasks.escalate()
        clock.shift(15 * 60)
    assert told() == ["Henrik Lindqvist", "Priya Raman", "Diego Ferreira"]


@pytest.mark.django_db(transaction=True)
def test_two_that_look_at_once_tell_it_once(clock: Clock, contacts: list[EmergencyContact], engineer: User) -> None:
    incident = declared(engineer)
    clock.shift(15 * 60)

    def look() -> None:
        try:
            escalation.escalate()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(look) for _ in range(8)]:
            each.result(60)
    assert told() == ["Henrik Lindqvist"]
    assert len(lines(incident)) == 1


def test_one_that_comes_between_finds_the_answer(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, oncall: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = declared(engineer)
    clock.shift(15 * 60)

    def acknowledged_meanwhile(wait: escalation.Wait) -> bool:
        actions.acknowledge(incident.pk, by=oncall)
        return True

    monkeypatch.setattr(escalation, "is_due", acknowledged_meanwhile)
    escalation.escalate()
    assert told() == []


# --- who ------------------------------------------------------------------------------------------------------------


def test_a_contact_that_nobody_holds_or_who_has_left_is_passed_over(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, tech_lead: User
) -> None:
    EmergencyContact.objects.filter(role=Role.MANAGER).update(person=None)
    User.objects.filter(pk=tech_lead.pk).update(is_active=False)
    declared(engineer)
    clock.shift(15 * 60)
    tasks.escalate()
    assert told() == ["Diego Ferreira"]


def test_deputies_are_called_too(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, tech_lead2: User
) -> None:
    contacts[1].deputies.add(tech_lead2)
    declared(engineer)
    clock.shift(15 * 60)
    tasks.escalate()
    assert told() == ["Henrik Lindqvist", "Salma Haddad"]


def test_without_contacts_it_goes_to_every_tech_lead(
    clock: Clock, engineer: User, tech_lead: User, tech_lead2: User
) -> None:
    incident = declared(engineer)
    clock.shift(15 * 60)
    tasks.escalate()
    assert told() == ["Henrik Lindqvist", "Salma Haddad"]
    assert lines(incident)[0].endswith("it goes to every Tech Lead (Henrik Lindqvist, Salma Haddad).")


def test_without_anybody_it_is_said_all_the_same(clock: Clock, engineer: User) -> None:
    incident = declared(engineer)
    clock.shift(15 * 60)
    tasks.escalate()
    assert lines(incident)[0].endswith("it goes to every Tech Lead (nobody).")


def test_it_reaches_who_wants_to_hear_of_nothing(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, tech_lead: User
) -> None:
    Preference.objects.create(person=tech_lead, unwanted_events=list(Event.values), unwanted_severities=["critical"])
    declared(engineer)
    clock.shift(15 * 60)
    tasks.escalate()
    mail = Notification.objects.get(message__event=Event.ESCALATED, way=Way.EMAIL)
    assert (mail.address, mail.state) == ("techlead@example.org", "pending")
    assert mail in delivery.due()


# --- approvals ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_approval_that_nobody_gives_goes_to_the_next_contact_until_it_expires(
    planned: Rollback, contacts: list[EmergencyContact], incident: Incident, oncall2: User
) -> None:
    EmergencyContact.objects.filter(role=Role.ON_CALL).update(person=oncall2)
    assert planned.expires_at is not None
    asked = planned.expires_at - timedelta(minutes=60)
    seen = []
    for minute in range(5, 120, 5):
        with time_machine.travel(asked + timedelta(minutes=minute), tick=False):
            before = len(told())
            notices.escalate()
            seen += [(minute, each) for each in told()[before:]]
            expiring = Message.objects.filter(event=Event.ESCALATED).last()
    assert seen == [(15, "Jonas Berg"), (30, "Priya Raman"), (45, "Diego Ferreira")], "a Tech Lead was asked at once"
    assert lines(incident)[0] == (
        f"Rollback {planned.pk}: Nobody has decided on it for 15 min: it goes to On-Call Engineer (Jonas Berg)."
    )
    assert [each.url for each in incident.timeline.filter(kind="escalation")] == [planned.get_absolute_url()] * 3
    assert expiring is not None
    assert expiring.expires_at == planned.expires_at


@pytest.mark.django_db(transaction=True)
def test_an_approval_that_was_given_ends_it(
    planned: Rollback, contacts: list[EmergencyContact], tech_lead: User, oncall: User
) -> None:
    assert planned.expires_at is not None
    with time_machine.travel(planned.expires_at - timedelta(minutes=40), tick=False):
        tasks.escalate()
        assert told() == ["Priya Raman"], "who asked for it is not told of it"
        rollbacks.approve(planned.pk, by=tech_lead)
    with time_machine.travel(planned.expires_at - timedelta(minutes=20), tick=False):
        notices.escalate()
    assert told() == ["Priya Raman"]
    assert {each.state for each in Notification.objects.filter(message__event=Event.ESCALATED)} == {"superseded"}
    assert again(planned).state == "approved"


@pytest.mark.django_db(transaction=True)
def test_who_is_on_call_now_is_called_for_the_on_call_engineer(
    planned: Rollback, contacts: list[EmergencyContact], oncall2: User
) -> None:
    rotation = Rotation.objects.create(name="Primary", covers="agents", starts=planned.requested_at.date())
    Turn.objects.create(rotation=rotation, person=oncall2)
    Rotation.objects.update(starts=planned.requested_at.date() - timedelta(days=14))
    assert planned.expires_at is not None
    with time_machine.travel(planned.expires_at - timedelta(minutes=40), tick=False):
        tasks.escalate()
    assert told() == ["Jonas Berg"]


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_says_who_is_next_and_when(
    clock: Clock, contacts: list[EmergencyContact], engineer: User, client_for: Callable[[User], Client]
) -> None:
    incident = declared(engineer)
    client = client_for(engineer)
    assert "Next is" not in client.get(incident.get_absolute_url()).content.decode()
    clock.shift(16 * 60)
    tasks.escalate()
    page = client.get(incident.get_absolute_url()).content.decode()
    assert "it goes to Tech Lead (Henrik Lindqvist)." in page
    assert "Next is Project Manager (Priya Raman), due" in page
    assert "in 15 min" in page


@pytest.mark.django_db(transaction=True)
def test_the_page_of_a_rollback_says_who_is_asked_next(
    planned: Rollback, contacts: list[EmergencyContact], client_for: Callable[[User], Client], tech_lead: User
) -> None:
    client = client_for(tech_lead)
    page = client.get(planned.get_absolute_url()).content.decode()
    rung = page.partition("When nobody decides, ")[2].partition(" hears of it")[0]
    assert planned.expires_at is not None
    with time_machine.travel(planned.expires_at - timedelta(minutes=40), tick=False):
        tasks.escalate()
        assert told()[-1] in rung, "it was said before"
    rollbacks.approve(planned.pk, by=tech_lead)
    assert "When nobody decides, " not in client.get(planned.get_absolute_url()).content.decode()
