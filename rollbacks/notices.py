"""Who hears of a rollback's moves. Called where its timeline is written (runner.tell), in the move's transaction; and
who hears of an approval that nobody gives."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from incidents import notify
from incidents.escalation import Level, Wait, climb, is_due, next_level
from incidents.models import Event
from incidents.models.notification import TELLS
from portal.ledger.roles import Role, holders
from rollbacks.models import Rollback, RollbackState

TIMES_ASKED = 4  # in the time that an approval is waited for: whoever asked first, and three contacts


def about(rollback: Rollback, text: str) -> None:
    """Say what the ledger's newest row about it means to those whom it concerns; nothing when it means nothing."""
    cause = notify.cause_of(rollback)
    event = TELLS.get((cause.kind, cause.move))
    if event is None:
        return
    if event in (Event.APPROVAL, Event.DECIDED):
        notify.supersede(topic(rollback, Event.APPROVAL))
    people, emails = audience(rollback, event)
    incident = rollback.incident
    notify.put(
        event,
        key=f"ledger:{cause.number}",
        cause=cause,
        to=[person for person in people if person.pk != cause.actor_id],
        emails=emails,
        topic=topic(rollback, event),
        incident=incident,
        severity=rollback.severity,
        subject=f"[{rollback.get_severity_display()}] {rollback} of {rollback.system} {SAID[event]}",
        text=f"{text}\nWhy it was asked for: {rollback.reason}",
        url=rollback.get_absolute_url(),
        expires=rollback.expires_at if event == Event.APPROVAL else None,
    )


SAID = {
    Event.APPROVAL: "waits for your approval",
    Event.DECIDED: "is decided",
    Event.PROGRESS: "goes on",
    Event.TROUBLE: "needs attention",
}


def audience(rollback: Rollback, event: Event) -> tuple[Iterable[User], list[str]]:
    """(people, bare addresses): the approvers hear that it waits, the requester of everything, the subscribers once it
    is under way, and everybody on call of trouble."""
    requester = rollback.requested_by
    if event == Event.APPROVAL:
        return [*holders(rollback.rule.role).exclude(pk=requester.pk)], []
    if event == Event.DECIDED:
        return [requester], []
    people, emails = notify.subscribers(systems=[rollback.system.name], severity=rollback.severity)
    on_call = holders(Role.ON_CALL) if event == Event.TROUBLE else []
    return [requester, *people, *on_call], emails


def topic(rollback: Rollback, event: Event) -> str:
    return f"rollback-{rollback.pk}-{event}"


# --- nobody decides -------------------------------------------------------------------------------------------------


def escalate() -> None:
    """Each approval that nobody has given in a part of its time."""
    waiting = Rollback.objects.filter(state=RollbackState.AWAITING_APPROVAL, expires_at__gt=timezone.now())
    waits = [of_rollback(rollback) for rollback in waiting.select_related("rule", "requested_by", "incident")]
    for pk in [wait.obj.pk for wait in waits if is_due(wait)]:
        with transaction.atomic():
            rollback = Rollback.objects.locked(pk)
            if rollback.state == RollbackState.AWAITING_APPROVAL:
                climb(of_rollback(rollback))


def next_asked(rollback: Rollback) -> Level | None:
    """Who hears of it next when nobody decides, and when; None when it would have expired by then."""
    if rollback.state != RollbackState.AWAITING_APPROVAL or rollback.expires_at is None:
        return None
    level = next_level(of_rollback(rollback))
    return level if level.at < rollback.expires_at else None


def of_rollback(rollback: Rollback) -> Wait:
    """The time of an approval begins anew with each plan."""
    assert rollback.expires_at is not None
    time = timedelta(minutes=rollback.rule.expires_minutes)
    return Wait(
        obj=rollback,
        incident=rollback.incident,
        lacks="decided on it",
        topic=topic(rollback, Event.APPROVAL),
        since=rollback.expires_at - time,
        pause=time / TIMES_ASKED,
        asked=Role(rollback.rule.role),
        asker=rollback.requested_by,
        expires=rollback.expires_at,
    )
