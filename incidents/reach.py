"""The reachability drill: each channel of an emergency contact asks its person to confirm that it reaches them, by a
link that works once and for that person only. What nobody confirms shows on the contacts' page."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import QuerySet, prefetch_related_objects
from django.urls import reverse
from django.utils import timezone

from incidents import duty, notify
from incidents.actions import check
from incidents.escalation import contacts, reachable
from incidents.models import Channel, EmergencyContact, Event, Notification, Preference
from portal.ledger.models import record, take_turn
from portal.ledger.moves import MoveRefused, NotAllowed
from portal.ledger.roles import Person, Role, any_of, called

MAY_ASK = any_of(Role.TECH_LEAD, Role.DEVOPS, Role.MANAGER)
AGAIN = timedelta(days=1)  # until what was not answered is asked again
SIGNER = Signer(salt="reach")


@transaction.atomic
def ask(*, by: Person) -> list[Notification]:
    """Every proven channel of everybody who holds a contact; mail for who has set up none. Raises NotAllowed."""
    check(MAY_ASK, by, "ask the contacts whether they are reached")
    assert by is not None
    take_turn()
    lately = unanswered().filter(message__made_at__gt=timezone.now() - AGAIN)
    asked = set(lately.values_list("person", "address"))
    made = [
        ask_by(person, channel)
        for person in people()
        for channel in notify.ways_to(person)
        if (person.pk, channel.address if channel else person.email) not in asked
    ]
    record(by, "ask contacts", by=by, count=len(made))
    return made


def people() -> list[User]:
    found = list(dict.fromkeys(person for contact in contacts() for person in reachable(contact)))
    prefetch_related_objects(found, "channels", "preference")
    return found


def doubtful() -> list[Channel]:
    """Those of the contacts' channels on which nobody should rely."""
    return [channel for person in people() for channel in person.channels.all() if channel.doubt]


def ask_by(person: User, channel: Channel | None) -> Notification:
    number = secrets.token_urlsafe(12)
    wishes = getattr(person, "preference", None) or Preference()
    return notify.put_alone(
        Event.DRILL,
        key=f"drill:{number}",
        person=person,
        channel=channel,
        subject="Does this reach you?",
        text="You are an emergency contact. Open the page and say that this has reached you: it takes one click. "
        "Nothing is wrong; this is a drill.",
        url=reverse("incidents:confirm", args=[SIGNER.sign(number)]),
        due=wishes.quiet_until(timezone.now()),
    )


def unanswered() -> QuerySet[Notification]:
    drills = Notification.objects.filter(message__event=Event.DRILL, message__expires_at__gt=timezone.now())
    return drills.filter(read_at=None, again=None).select_related("message", "person")


# --- the answer -----------------------------------------------------------------------------------------------------


def asked_by(token: str, *, by: User) -> Notification:
    """Raises Notification.DoesNotExist for a link that the portal did not make, NotAllowed for another's."""
    try:
        number = SIGNER.unsign(token)
    except BadSignature as error:
        raise Notification.DoesNotExist from error
    asked = Notification.objects.select_related("message").get(message__key=f"drill:{number}", again=None)
    if asked.person_id != by.pk:
        raise NotAllowed(f"{called(by)} cannot answer this: it was sent to {asked.to}. Nothing was changed.")
    return asked


@transaction.atomic
def confirm(token: str, *, by: User) -> Notification:
    """It has arrived. Raises MoveRefused when it was said already, or too late."""
    take_turn()
    asked = asked_by(token, by=by)
    now = timezone.now()
    if asked.read_at:
        raise MoveRefused("You have confirmed this already: the link works once.")
    if asked.message.expires_at <= now:
        raise MoveRefused("This link is too old. You are asked again at the next drill.")
    Notification.objects.filter(pk=asked.pk).update(read_at=now)
    for channel in Channel.objects.filter(pk=asked.channel_id or 0, verified_at__isnull=False):
        channel.verified_at, channel.trouble, channel.trouble_at = now, "", None
        channel.save()
        record(channel, "confirm", by=by)
    for contact in EmergencyContact.objects.filter(person=by):
        duty.verified(contact, by, f"reached by {asked.by_way}")
    return asked
