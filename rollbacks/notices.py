"""Who hears of a rollback's moves. Called where its timeline is written (runner.tell), in the move's transaction."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import User

from incidents import notify
from incidents.models import Event
from incidents.models.notification import TELLS
from portal.ledger.roles import Role, holders
from rollbacks.models import Rollback


def about(rollback: Rollback, text: str) -> None:
    """Say what the ledger's newest row about it means to those whom it concerns; nothing when it means nothing."""
    cause = notify.cause_of(rollback)
    event = TELLS.get((cause.kind, cause.move))
    if event is None:
        return
    waits = f"rollback-{rollback.pk}-{Event.APPROVAL}"
    if event in (Event.APPROVAL, Event.DECIDED):
        notify.supersede(waits)
    people, emails = audience(rollback, event)
    incident = rollback.incident
    notify.put(
        event,
        key=f"ledger:{cause.number}",
        cause=cause,
        to=[person for person in people if person.pk != cause.actor_id],
        emails=emails,
        topic=f"rollback-{rollback.pk}-{event}",
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
