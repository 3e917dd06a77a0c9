"""The people's moves on an incident, and the machine's (carry). Each takes the row's lock, moves through advance(), and
writes a line of the timeline in the same transaction, so that the story and the state never disagree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from incidents import notify
from incidents.models import TO_DO, Alert, Event, Incident, IncidentState, Review, TimelineEntry
from incidents.models.incident import DECLARERS, respond_by
from portal.ledger.models import record, take_turn
from portal.ledger.moves import MoveRefused, NotAllowed, advance, ago, born, transitions, why_not
from portal.ledger.roles import EVERYBODY_AT_WORK, MACHINE, Person, Role, Who, at_least, called, holders

MAY_NOTE = EVERYBODY_AT_WORK
MAY_REVIEW = at_least(Role.TECH_LEAD)


@dataclass(frozen=True)
class Verb:
    label: str  # on the button
    said: str  # in the timeline, after a name
    asks: str = ""  # the question that its note answers; "" when it needs none


VERBS = {  # in the order in which they are offered
    "acknowledge": Verb("Acknowledge", "acknowledged the incident"),
    "mitigate": Verb("Start mitigating", "started mitigating"),
    "monitor": Verb("Start monitoring", "started monitoring: the fix is in"),
    "resolve": Verb("Resolve", "resolved the incident"),
    "close": Verb("Close", "closed the incident"),
    "reopen": Verb("Reopen", "reopened the incident", "Say what came back: the people who thought it over read it."),
    "cancel": Verb("Cancel: false alarm", "cancelled the incident", "Say why it was a false alarm."),
}


@dataclass(frozen=True)
class Move:
    """One button of the incident's page."""

    name: str
    label: str
    why_not: str  # "" when this person may make it now
    needs_note: bool
    primary: bool


def moves(incident: Incident, person: Person) -> list[Move]:
    """The moves that lead out of its present state; the first that goes forward is the page's primary action."""
    every = transitions(Incident)
    leaving = {each.name for each in every if each.source == incident.state and each.permission is not MACHINE}
    if "reopen" in leaving:
        leaving.discard("mitigate")  # a person who goes back says why; without a note only a rollback may
    names = [name for name in VERBS if name in leaving]
    return [
        Move(
            name=name,
            label=VERBS[name].label,
            why_not=why_not(incident, name, person),
            needs_note=bool(VERBS[name].asks),
            primary=name == names[0] and not VERBS[name].asks,
        )
        for name in names
    ]


# --- the moves ------------------------------------------------------------------------------------------------------


@transaction.atomic
def declare(*, by: Person, title: str, severity: str, scope: str, summary: str = "") -> Incident:
    check(DECLARERS, by, "declare an incident")
    incident = begin(by=by, title=title, severity=severity, scope=scope, summary=summary)
    tell(incident, by, TimelineEntry.Kind.MOVE, f"{called(by)} declared the incident.")
    return incident


def begin(*, by: Person, title: str, severity: str, scope: str, summary: str = "", declared_from: str = "") -> Incident:
    """The record and its first ledger row; by nobody when a source declares it."""
    now = timezone.now()
    incident = Incident.objects.create(
        title=title,
        severity=severity,
        scope=scope,
        summary=summary,
        declared_by=by,
        declared_from=declared_from,
        declared_at=now,
        respond_by=respond_by(severity, now),
    )
    source = {"declared_from": declared_from} if declared_from else {}
    born(incident, "declare", by=by, note=title, severity=severity, scope=scope, **source)
    news(incident, Event.DECLARED, by, f"{incident.declarer} declared it. {summary}".strip())
    return incident


@transaction.atomic
def acknowledge(pk: int, *, by: Person, note: str = "") -> Incident:
    incident = Incident.objects.locked(pk)
    incident.acknowledged_by = by
    return moved(incident, "acknowledge", by, note)


@transaction.atomic
def mitigate(pk: int, *, by: Person, note: str = "") -> Incident:
    return moved(Incident.objects.locked(pk), "mitigate", by, note)


@transaction.atomic
def monitor(pk: int, *, by: Person, note: str = "") -> Incident:
    return moved(Incident.objects.locked(pk), "monitor", by, note)


@transaction.atomic
def resolve(pk: int, *, by: Person, note: str = "") -> Incident:
    return moved(Incident.objects.locked(pk), "resolve", by, note)


@transaction.atomic
def close(pk: int, *, by: Person, note: str = "") -> Incident:
    incident = Incident.objects.locked(pk)
    if incident.state == IncidentState.RESOLVED:
        check_assigned(incident, f"{incident} cannot be closed yet")
    return moved(incident, "close", by, note)


@transaction.atomic
def cancel(pk: int, *, by: Person, note: str = "") -> Incident:
    return moved(Incident.objects.locked(pk), "cancel", by, note)


@transaction.atomic
def reopen(pk: int, *, by: Person, note: str = "") -> Incident:
    return moved(Incident.objects.locked(pk), "reopen", by, note)


def moved(incident: Incident, name: str, by: Person, note: str) -> Incident:
    """Advance a locked incident, and tell. Raises MoveRefused, NotAllowed."""
    note, verb = note.strip(), VERBS[name]
    if verb.asks and not note and not why_not(incident, name, by):
        raise MoveRefused(verb.asks, incident)
    advance(incident, name, by=by, note=note)
    keep_alerts(incident)
    said = f"{called(by)} {verb.said}. {note}".strip()
    tell(incident, by, TimelineEntry.Kind.MOVE, said)
    news(incident, Event.MOVED, by, said)
    return incident


@transaction.atomic
def carry(incident_pk: int, move: str, *, note: str = "", url: str = "") -> Incident:
    """What a rollback does to its incident: the move where the state allows it, and in any case the timeline's line.

    People may have moved the incident meanwhile (or closed it): that is never a reason for a rollback to stop.
    """
    incident = Incident.objects.locked(incident_pk)
    if move and not why_not(incident, move, None):
        advance(incident, move, by=None, note=note)
        keep_alerts(incident)
        note = note or f"The portal {VERBS[move].said}."
        news(incident, Event.MOVED, None, note)
    if note:
        tell(incident, None, TimelineEntry.Kind.ROLLBACK, note, url)
    return incident


def keep_alerts(incident: Incident) -> None:
    """An alert is open as long as its incident is: else its next message would land in a story that is over. One that
    has meanwhile opened an incident of its own stays with that one."""
    for alert in incident.alerts.exclude(open=incident.is_open):
        if not incident.is_open or not Alert.objects.filter(source=alert.source_id, key=alert.key, open=True).exists():
            Alert.objects.filter(pk=alert.pk).update(open=incident.is_open)


# --- the story ------------------------------------------------------------------------------------------------------


@transaction.atomic
def note(
    incident_pk: int, *, by: Person, text: str, kind: str = TimelineEntry.Kind.NOTE, url: str = ""
) -> TimelineEntry:
    """A line of the timeline; by nobody when the portal itself has something to say."""
    if by is not None:
        check(MAY_NOTE, by, "write to the timeline")
    incident = Incident.objects.locked(incident_pk)
    if not text.strip():
        raise MoveRefused("The note is empty: say what you did, saw or decided.", incident)
    record(incident, "note", by=by, note=text.strip())
    return tell(incident, by, kind, text.strip(), url)


@transaction.atomic
def update(incident_pk: int, *, by: Person, text: str) -> TimelineEntry:
    """A status update: the commander's words, to the timeline and to everybody who has subscribed."""
    check(MAY_NOTE, by, "write a status update")
    incident = Incident.objects.locked(incident_pk)
    if not text.strip():
        raise MoveRefused(
            "The update is empty: say what is known, what is being done, and when you write next.", incident
        )
    record(incident, "update", by=by, note=text.strip())
    news(incident, Event.UPDATE, by, f"{called(by)}: {text.strip()}")
    return tell(incident, by, TimelineEntry.Kind.UPDATE, text.strip())


def news(incident: Incident, event: Event, by: Person, text: str) -> None:
    """Who hears of it: who declared and who acknowledged it, the subscribers, and (of a new one, or one that is open
    again) everybody on call. Nobody hears of their own deed."""
    systems = [system.name for system in incident.systems.all()]
    people, emails = notify.subscribers(systems=systems, severity=incident.severity)
    people += [each for each in (incident.declared_by, incident.acknowledged_by) if each]
    cause = notify.cause_of(incident)
    if cause.move in ("declare", "reopen"):
        people += holders(Role.ON_CALL)
    elif event == Event.MOVED:  # somebody is at it; a status update is no reason not to call people
        notify.supersede(f"incident-{incident.pk}-{Event.DECLARED}")
    notify.put(
        event,
        key=f"ledger:{cause.number}",
        cause=cause,
        to=[person for person in people if person != by],
        emails=emails,
        topic=f"incident-{incident.pk}-{event}",
        incident=incident,
        severity=incident.severity,
        subject=f"[{incident.get_severity_display()}] {incident}: {incident.title}",
        text=text,
        url=incident.get_absolute_url(),
    )


def tell(incident: Incident, by: Person, kind: str, text: str, url: str = "") -> TimelineEntry:
    return TimelineEntry.objects.create(
        incident=incident,
        by=by,
        by_name=called(by)[:200],
        kind=kind,
        text=text.replace("\x00", ""),  # a machine's words may hold one, and PostgreSQL does not
        url=url,
    )


# --- reviews --------------------------------------------------------------------------------------------------------


@transaction.atomic
def open_review(
    *,
    incident: Incident | None,
    kind: str,
    subject: str,
    url: str,
    reason: str,
    by: User,
    asked_by: Person = None,
    hours: int = 24,
) -> Review:
    """Somebody acted without the usual approval: a Tech Lead has to look at it within `hours`."""
    now = timezone.now()
    review = Review.objects.create(
        incident=incident,
        kind=kind,
        subject=subject,
        url=url,
        reason=reason,
        opened_by=by,
        asked_by=asked_by,
        opened_at=now,
        due_at=now + timedelta(hours=hours),
    )
    record(review, "open", by=by, note=reason, kind=kind, url=url)
    if incident is not None:
        text = f"{review.get_kind_display()}: {subject}. A Tech Lead has to review it within {hours} h."
        tell(incident, by, TimelineEntry.Kind.NOTE, text, url)
    return review


@transaction.atomic
def answer_review(pk: int, *, by: Person, note: str) -> Review:
    """The debt is paid. Raises MoveRefused, NotAllowed."""
    take_turn()
    review = Review.objects.select_for_update(of=("self",)).select_related("incident", "reviewed_by").get(pk=pk)
    if review.reviewed_at is not None:
        seconds = max(0, round((timezone.now() - review.reviewed_at).total_seconds()))
        raise MoveRefused(f"{review} was answered by {called(review.reviewed_by)} {ago(seconds)} ago.", review.incident)
    if reason := why_not_answer(review, by):
        raise NotAllowed(f"{called(by)} cannot answer the review of {review.subject}: {reason}.")
    if not note.strip():
        raise MoveRefused("Say what you found: whether it was right, and what should change.", review.incident)
    review.reviewed_by, review.reviewed_at, review.note = by, timezone.now(), note.strip()
    review.save()
    record(review, "answer", by=by, note=review.note)
    if review.incident is not None:
        text = f"Reviewed {review.subject}. {review.note}"
        tell(review.incident, by, TimelineEntry.Kind.NOTE, text, review.url)
    return review


def why_not_answer(review: Review, person: Person) -> str:
    """ "" or why this person cannot answer it."""
    if person is not None and person.pk == review.opened_by_id:
        return "you opened it, and nobody reviews what they did themselves"
    if person is not None and person.pk == review.asked_by_id:
        return "it was done at your request, and nobody reviews what they asked for"
    return MAY_REVIEW.why_not(review, person)


def check_assigned(incident: Incident, what: str) -> None:
    """Raises MoveRefused when an action item has no owner or no date, and says which."""
    missing = Q(owner=None) | Q(due_at=None)
    items = incident.action_items.filter(missing, state__in=TO_DO)
    if named := "; ".join(f"“{item.title}” has {item.lacks}" for item in items[:10]):
        raise MoveRefused(f"{what}: {named}. Give each an owner and a due date, or drop it with a reason.", incident)


def check(who: Who, by: Person, what: str) -> None:
    """Raises NotAllowed, in words."""
    if reason := who.why_not(None, by):
        raise NotAllowed(f"{called(by)} cannot {what}: {reason}.")
