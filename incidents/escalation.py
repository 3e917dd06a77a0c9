"""When nobody answers: the emergency contacts hear of it, one after another, until somebody does.

How far it has come is read off the messages that were written: there is no counter that could disagree with them. Who
writes the next one holds the row that waits, so that any number of these may run at once, and be killed at any point.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from incidents import duty, notify
from incidents.actions import tell
from incidents.models import EmergencyContact, Event, Incident, IncidentState, Message, TimelineEntry
from incidents.on_call import on_call
from portal.ledger.models import record
from portal.ledger.moves import ago
from portal.ledger.roles import Role, called, holders


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
        url = "" if wait.obj == wait.incident else wait.obj.get_absolute_url()
        tell(wait.incident, None, TimelineEntry.Kind.ESCALATION, f"{wait.obj}: {text}", url)
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
