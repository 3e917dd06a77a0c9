"""When nobody answers: the emergency contacts hear of it, one after another, until somebody does.

How far it has come is read off the messages that were written: there is no counter that could disagree with them. Who
writes the next one holds the row that waits, so that any number of these may run at once, and be killed at any point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from incidents import duty, notify
from incidents.action_items import TERMS, topic
from incidents.actions import tell
from incidents.models import (
    TO_DO,
    ActionItem,
    EmergencyContact,
    Event,
    Incident,
    IncidentState,
    Message,
    Severity,
    TimelineEntry,
)
from incidents.on_call import on_call
from portal.ledger.models import Ledger, record
from portal.ledger.moves import ago
from portal.ledger.roles import Role, called, holders

LONGEST_PATIENCE = timedelta(hours=24)  # with the owner of an overdue action item


@dataclass(frozen=True)
class Rung:
    """One contact, with everybody who holds it."""

    role: str
    people: list[User]

    def __str__(self) -> str:
        return f"{self.role} ({', '.join(called(each) for each in self.people) or 'nobody'})"


@dataclass(frozen=True)
class Wait:
    """Something that waits for an answer."""

    obj: Any  # an incident or a rollback, of a severity
    incident: Incident | None
    lacks: str  # the answer, as in "nobody has …"
    topic: str  # of the message that asked: an answer makes both stale
    since: datetime
    pause: timedelta  # for each contact to answer in
    asked: Role  # told at once, all of them
    asker: User | None = None
    expires: datetime | None = None


@dataclass(frozen=True)
class Level:
    number: int  # from 1
    rung: Rung
    at: datetime


def escalate() -> None:
    """Each incident that nobody has acknowledged in its severity's time."""
    late = Incident.objects.filter(state=IncidentState.DECLARED, respond_by__lte=timezone.now())
    for pk in [each.pk for each in late if is_due(of_incident(each))]:
        with transaction.atomic():
            incident = Incident.objects.locked(pk)
            if incident.state == IncidentState.DECLARED:
                climb(of_incident(incident))


def of_incident(incident: Incident) -> Wait:
    return Wait(
        obj=incident,
        incident=incident,
        lacks="acknowledged it",
        topic=f"incident-{incident.pk}-{Event.DECLARED}",
        since=incident.declared_at,
        pause=incident.respond_by - incident.declared_at,
        asked=Role.ON_CALL,
    )


def climb(wait: Wait) -> Level | None:
    """The next contact hears of it, when it is time. Its row is held by the caller."""
    level = next_level(wait)
    if level.at > timezone.now():
        return None
    waited = ago(round((timezone.now() - wait.since).total_seconds()))
    text = f"Nobody has {wait.lacks} for {waited}: it goes to {level.rung}."
    cause = record(wait.obj, "escalate", by=None, note=text, level=level.number)
    notify.put(
        Event.ESCALATED,
        key=f"ledger:{cause.number}",
        cause=cause,
        to=level.rung.people,
        topic=wait.topic,
        incident=wait.incident,
        severity=wait.obj.severity,
        subject=f"[{wait.obj.get_severity_display()}] {wait.obj}: nobody has {wait.lacks} for {waited}",
        text=text,
        url=wait.obj.get_absolute_url(),
        expires=wait.expires,
    )
    if wait.incident:
        is_own = wait.obj == wait.incident
        said, url = (text, "") if is_own else (f"{wait.obj}: {text}", wait.obj.get_absolute_url())
        tell(wait.incident, None, TimelineEntry.Kind.ESCALATION, said, url)
    return level


def next_level(wait: Wait) -> Level:
    """Who is next, and when. After the last contact it begins again, each round with twice the time."""
    said = Message.objects.filter(event=Event.ESCALATED, topic=wait.topic, made_at__gte=wait.since)
    times = list(said.order_by("made_at").values_list("made_at", flat=True))
    rungs = ladder(wait)
    rounds, place = divmod(len(times), len(rungs))
    return Level(len(times) + 1, rungs[place], (times[-1] if times else wait.since) + wait.pause * 2**rounds)


def is_due(wait: Wait) -> bool:
    return next_level(wait).at <= timezone.now()


# --- overdue action items -------------------------------------------------------------------------------------------


def remind() -> None:
    """An overdue action item: its owner hears of it once; when it is still to be done some time after, a Tech Lead."""
    overdue = ActionItem.objects.filter(state__in=TO_DO, due_at__lte=timezone.now()).select_related("owner")
    said = reminders(overdue)
    for pk in [each.pk for each in overdue if deserves(each, said.get(topic(each), []))]:
        with transaction.atomic():
            item = ActionItem.objects.locked(pk)
            match deserves(item, reminders([item])[topic(item)]):
                case Event.REMINDER:
                    remind_owner(item)
                case Event.ESCALATED:
                    hand_up(item)


def reminders(items: Iterable[ActionItem]) -> dict[str, list[datetime]]:
    """When something was said of each, in this order."""
    said: dict[str, list[datetime]] = {topic(each): [] for each in items}
    for about, at in Message.objects.filter(topic__in=list(said)).order_by("made_at").values_list("topic", "made_at"):
        said[about].append(at)
    return said


def deserves(item: ActionItem, said: list[datetime]) -> Event | None:
    """What is to be said of it now; what was said before it had its present date does not count."""
    if not item.is_to_do or item.due_at is None or item.due_at > timezone.now():
        return None
    since = [at for at in said if at >= item.due_at]
    has_owner = item.owner is not None and item.owner.is_active
    if not since:
        return Event.REMINDER if has_owner else Event.ESCALATED
    patience = min(TERMS[ActionItem.Term(item.term)], LONGEST_PATIENCE)
    return Event.ESCALATED if has_owner and len(since) == 1 and since[0] + patience <= timezone.now() else None


def remind_owner(item: ActionItem) -> None:
    assert item.owner is not None
    text = f"It was due {item.due_at:%Y-%m-%d %H:%M} UTC. Finish it, give it another date or owner, or say why not."
    say_of(item, Event.REMINDER, [item.owner], f"Overdue: {item.title}", text)


def hand_up(item: ActionItem) -> None:
    """To the Tech Lead of the contacts, or else to every one; never to the owner, who knows."""
    rungs = [Rung(each.role, reachable(each)) for each in contacts() if each.role == Role.TECH_LEAD]
    every = Rung(f"every {Role.TECH_LEAD}", list(holders(Role.TECH_LEAD)))
    people = [(rung, [each for each in rung.people if each != item.owner]) for rung in [*rungs, every]]
    rung = next((Rung(rung.role, others) for rung, others in people if others), Rung(every.role, []))
    owner = f"with {called(item.owner)}" if item.owner else "without an owner"
    text = f"“{item.title}” is overdue since {item.due_at:%Y-%m-%d %H:%M} UTC, {owner}: it goes to {rung}."
    cause = record(item, "escalate", by=None, note=text)
    say_of(item, Event.ESCALATED, rung.people, f"Overdue: {item.title}", text, cause)
    if item.incident:
        tell(item.incident, None, TimelineEntry.Kind.ESCALATION, text, item.get_absolute_url())


def say_of(
    item: ActionItem, event: Event, people: list[User], subject: str, text: str, cause: Ledger | None = None
) -> None:
    """Never as Critical, whatever its incident was: it may wait for the morning, and several go out as one."""
    notify.put(
        event,
        key=f"ledger:{cause.number}" if cause else f"{topic(item)}:{item.due_at:%Y%m%dT%H%M%S}",
        cause=cause,
        to=people,
        topic=topic(item),
        incident=item.incident,
        severity=Severity.MEDIUM,
        subject=subject,
        text=text,
        url=item.get_absolute_url(),
    )


# --- the contacts ---------------------------------------------------------------------------------------------------


def ladder(wait: Wait) -> list[Rung]:
    """The contacts in their order, but the one whose role was asked at once; the Tech Leads when there is none."""
    rungs = []
    asked = False
    for contact in contacts():
        if contact.role == wait.asked and not asked:
            asked = True
            continue
        if people := [each for each in reachable(contact) if each != wait.asker]:
            rungs.append(Rung(contact.role, people))
    return rungs or [Rung(f"every {Role.TECH_LEAD}", list(holders(Role.TECH_LEAD)))]


def contacts() -> list[EmergencyContact]:
    return list(EmergencyContact.objects.select_related("person").prefetch_related("deputies"))


def reachable(contact: EmergencyContact) -> list[User]:
    """Who holds it, and for the On-Call Engineer who is on call now, as far as they are still here."""
    people = [contact.person, *contact.deputies.all()]
    if contact.role == Role.ON_CALL:
        people = [*on_duty(), *people]
    return list(dict.fromkeys(each for each in people if each and each.is_active))


def on_duty() -> list[User]:
    found = []
    for rotation in duty.rotations():
        shift = on_call(rotation.plan(), timezone.now())
        if shift.who is not None:
            found.append(duty.people_of(rotation)[shift.who])
    return found
