"""Saying something: the rows are written in the transaction of the move that causes it (a transactional outbox), so
that a move and its news stand or fall together. Sending is delivery.py's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from incidents import tasks
from incidents.models import Incident, Severity
from incidents.models.notification import (
    WAITING,
    Channel,
    DeliveryState,
    Event,
    Message,
    Notification,
    Preference,
    Subscription,
    Way,
)
from portal.ledger.models import Ledger, rows_of

EXPIRES = {  # hours after which nobody needs to hear it any more
    Event.DECLARED: 12,
    Event.MOVED: 12,
    Event.UPDATE: 12,
    Event.APPROVAL: 1,
    Event.DECIDED: 4,
    Event.PROGRESS: 4,
    Event.TROUBLE: 12,
    Event.ESCALATED: 12,
    Event.REMINDER: 24,
    Event.DRILL: 7 * 24,
    Event.CODE: 0.25,
}


def put(
    event: Event,
    *,
    key: str,
    to: Iterable[User],
    emails: Iterable[str] = (),
    cause: Ledger | None = None,
    topic: str = "",
    incident: Incident | None = None,
    severity: str = "",
    subject: str,
    text: str,
    url: str,
    expires: datetime | None = None,
) -> Message | None:
    """Say it to these people, each by their own channels, and to bare addresses. None when this key was said already.

    Raises TransactionManagementError outside a transaction.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("a message is written in the transaction of its move")
    now = timezone.now()
    message, is_new = Message.objects.get_or_create(
        key=key,
        defaults={
            "event": event,
            "cause": cause.number if cause else None,
            "topic": topic,
            "incident": incident,
            "severity": severity,
            "subject": " ".join(subject.split())[:200],
            "text": text.replace("\x00", ""),
            "url": url,
            "made_at": now,
            "expires_at": expires or now + timedelta(hours=EXPIRES[event]),
        },
    )
    if not is_new:
        return None
    people = {person.pk: person for person in to}
    copies = list(copies_for(message, people.values()))
    known = {copy.address for copy in copies if copy.way == Way.EMAIL}
    bare = [email for email in dict.fromkeys(emails) if email not in known]
    copies += [Notification(message=message, way=Way.EMAIL, address=email, due_at=now) for email in bare]
    Notification.objects.bulk_create(copies)
    transaction.on_commit(tasks.hint)
    return message


def copies_for(message: Message, people: Iterable[User]) -> Iterator[Notification]:
    """One copy for each wanted, proven channel of each person, and always one in the portal. Somebody who has proven no
    channel gets mail to the address of their account."""
    people = list(people)
    models.prefetch_related_objects(people, "channels", "preference")
    for person in people:
        wishes = getattr(person, "preference", None) or Preference()
        yield Notification(
            message=message, person=person, way=Way.BROWSER, state=DeliveryState.SENT, sent_at=message.made_at
        )
        if wishes.wants(message.event, message.severity):
            urgent = message.severity == Severity.CRITICAL
            due = message.made_at if urgent else wishes.quiet_until(message.made_at) or message.made_at
            yield from by_channels(message, person, due)


def by_channels(message: Message, person: User, due: datetime) -> Iterator[Notification]:
    for channel in ways_to(person):
        yield Notification(message=message, person=person, due_at=due, **addressed(person, channel))


def ways_to(person: User) -> list[Channel | None]:
    """The proven channels; as long as there is none, None: the mail address of the account, when it has one."""
    proven: list[Channel | None] = [channel for channel in person.channels.all() if channel.verified_at]
    return proven or ([None] if person.email else [])


def addressed(person: User, channel: Channel | None) -> dict[str, Any]:
    """What a notification keeps of its way: also when the channel is gone."""
    if channel is None:
        return {"way": Way.EMAIL, "address": person.email}
    return {"channel": channel, "way": channel.way, "label": channel.label, "address": channel.address}


def put_alone(
    event: Event,
    *,
    key: str,
    person: User,
    channel: Channel | None,
    subject: str,
    text: str,
    url: str,
    topic: str = "",
    due: datetime | None = None,
) -> Notification:
    """To this one channel (or the address of the account), whatever the person wants to hear of."""
    now = timezone.now()
    message = Message.objects.create(
        event=event,
        key=key,
        topic=topic,
        subject=subject,
        text=text,
        url=url,
        made_at=now,
        expires_at=now + timedelta(hours=EXPIRES[event]),
    )
    transaction.on_commit(tasks.hint)
    return Notification.objects.create(message=message, person=person, due_at=due or now, **addressed(person, channel))


def put_code(channel: Channel, code: str) -> None:
    """The code that proves a channel."""
    put_alone(
        Event.CODE,
        key=f"code:{channel.pk}:{channel.code[:16]}:{timezone.now().timestamp()}",
        person=channel.person,
        channel=channel,
        topic=f"channel-{channel.pk}",
        subject="Your code for the portal",
        text=f"{code} is the code that proves this channel. Type it in on your channels' page within 15 minutes.",
        url="/notifications/channels/",
    )


def supersede(topic: str) -> int:
    """What is stale now is not sent any more, and is no news in the portal either."""
    stale = Notification.objects.filter(message__topic=topic)
    unread = stale.filter(way=Way.BROWSER, state=DeliveryState.SENT, read_at=None)
    return sum(rows.update(state=DeliveryState.SUPERSEDED) for rows in (stale.filter(state__in=WAITING), unread))


def drop(rows: models.QuerySet[Notification]) -> int:
    """Nobody waits for these any more."""
    return rows.update(state=DeliveryState.SUPERSEDED)


def cause_of(obj: models.Model) -> Ledger:
    """The ledger row that this transaction has just written about it: held until its end, nobody else's can follow."""
    return rows_of(obj).latest("number")


# --- who hears of it ------------------------------------------------------------------------------------------------


def subscribers(*, systems: Iterable[str] = (), severity: str = "") -> tuple[list[User], list[str]]:
    """(people, bare addresses) who asked to hear of one of these systems, or of this severity."""
    wanted = Q(system__in=list(systems)) & ~Q(system="")
    if severity:
        wanted |= Q(severity=severity)
    rows = list(Subscription.objects.filter(wanted).select_related("person"))
    return [row.person for row in rows if row.person and row.person.is_active], [row.email for row in rows if row.email]
