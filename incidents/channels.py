"""What people do with their own channels, wishes and subscriptions, and with a message that did not arrive. The ledger
knows a channel by its label and its service: never its address."""

from __future__ import annotations

import hashlib
import secrets
from datetime import time, timedelta
from hmac import compare_digest

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from incidents import notify, tasks
from incidents.models import Channel, DeliveryState, Notification, Preference, Subscription, Way
from incidents.models.notification import WAITING
from incidents.sending import Refused, check_network, understood
from portal.ledger.models import record
from portal.ledger.moves import MoveRefused, NotAllowed
from portal.ledger.roles import Person, Role, Who, any_of, at_least, called, roles_of

MAY_READ_ALL = any_of(Role.AUDITOR, Role.TECH_LEAD, Role.DEVOPS, Role.MANAGER)
MAY_RESEND = at_least(Role.ENGINEER)
MAY_SUBSCRIBE_OTHERS = any_of(Role.MANAGER, Role.TECH_LEAD)
CODE_MINUTES = 15
GUESSES = 5
MOST = 10  # channels of one person


def check(who: Who, by: Person, what: str) -> None:
    """Raises NotAllowed, in words."""
    if reason := who.why_not(None, by):
        raise NotAllowed(f"{called(by)} cannot {what}: {reason}.")


# --- channels -------------------------------------------------------------------------------------------------------


@transaction.atomic
def add(*, by: User, way: str, label: str, address: str) -> Channel:
    """A new channel, and its code on the way. Raises MoveRefused when the address cannot be used."""
    if not roles_of(by):
        raise NotAllowed(f"{called(by)} cannot add a channel: this needs a role, and you are without a role.")
    address = address.strip()
    try:
        if way == Way.EMAIL:
            validate_email(address)
        else:
            check_network(understood(address))
    except ValidationError as error:
        raise MoveRefused("This is no mail address. Nothing was saved.") from error
    except Refused as error:
        raise MoveRefused(f"{error} Nothing was saved.") from error
    if by.channels.filter(address=address).exists():
        raise MoveRefused("You have this channel already. Nothing was changed.")
    if by.channels.count() >= MOST:
        raise MoveRefused(f"You have {MOST} channels: remove one first.")
    last = by.channels.aggregate(last=Max("order"))["last"]
    channel = Channel.objects.create(
        person=by, way=way, label=" ".join(label.split()), address=address, order=0 if last is None else last + 1
    )
    record(channel, "add", by=by, way=way)
    send_code(channel)
    return channel


@transaction.atomic
def send_again(pk: int, *, by: User) -> Channel:
    """A new code for a channel of one's own; the one before holds no more."""
    channel = own(pk, by)
    if channel.code_until and channel.code_until - timedelta(minutes=CODE_MINUTES - 1) > timezone.now():
        raise MoveRefused("A code was sent less than a minute ago. Wait for it, then ask again.")
    send_code(channel)
    return channel


def send_code(channel: Channel) -> None:
    code = f"{secrets.randbelow(10**6):06d}"
    notify.supersede(f"channel-{channel.pk}")
    channel.code, channel.guesses = digest(channel, code), 0
    channel.code_until = timezone.now() + timedelta(minutes=CODE_MINUTES)
    channel.save()
    notify.put_code(channel, code)


def digest(channel: Channel, code: str) -> str:
    return hashlib.sha256(f"{channel.pk}:{code}".encode()).hexdigest()


def prove(pk: int, *, by: User, code: str) -> Channel:
    """The code has arrived: the channel is used from now on. A wrong guess is counted, whatever is said then."""
    with transaction.atomic():
        channel = own(pk, by)
        if not channel.code or channel.code_until is None or channel.code_until < timezone.now():
            raise MoveRefused("The code is too old. Ask for a new one.")
        channel.guesses += 1
        right = compare_digest(channel.code, digest(channel, code.strip()))
        if right or channel.guesses >= GUESSES:
            channel.code = ""
        if right:
            channel.verified_at, channel.trouble, channel.trouble_at = timezone.now(), "", None
            record(channel, "prove", by=by)
        channel.save()
    if not right:
        raise MoveRefused(
            "This is not the code that was sent. " + ("Ask for a new one." if not channel.code else "Look again.")
        )
    return channel


@transaction.atomic
def remove(pk: int, *, by: User) -> None:
    """What waits for it is not sent any more."""
    channel = own(pk, by)
    record(channel, "remove", by=by)
    waiting = Notification.objects.filter(channel=channel, state__in=WAITING)
    notify.drop(waiting)
    channel.delete()


@transaction.atomic
def first(pk: int, *, by: User) -> None:
    """Put it before the others."""
    chosen = own(pk, by)
    others = [each for each in by.channels.all() if each.pk != pk]
    for order, channel in enumerate([chosen, *others]):
        Channel.objects.filter(pk=channel.pk).update(order=order)


def own(pk: int, by: User) -> Channel:
    """A channel of this person, held. Raises Channel.DoesNotExist for another's: it is nobody's business that it is."""
    return Channel.objects.select_for_update().get(pk=pk, person=by)


# --- wishes ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def wish(
    *, by: User, events: list[str], severities: list[str], zone: str, quiet_from: time | None, quiet_to: time | None
) -> Preference:
    """What this person does not want to hear of, and when."""
    kept, _ = Preference.objects.update_or_create(
        person=by,
        defaults={
            "unwanted_events": events,
            "unwanted_severities": severities,
            "zone": zone,
            "quiet_from": quiet_from,
            "quiet_to": quiet_to,
        },
    )
    record(kept, "wish", by=by, unwanted=[*events, *severities], quiet=f"{quiet_from}–{quiet_to} {zone}")
    return kept


@transaction.atomic
def subscribe(*, by: User, email: str, system: str, severity: str) -> Subscription:
    """Oneself, or (a Project Manager or Tech Lead) a bare address, to a system or a severity."""
    if not roles_of(by):
        raise NotAllowed(f"{called(by)} cannot subscribe: this needs a role, and you are without a role.")
    if email:
        check(MAY_SUBSCRIBE_OTHERS, by, "subscribe somebody else")
    made, is_new = Subscription.objects.get_or_create(
        person=None if email else by, email=email, system=system, severity=severity, defaults={"made_by": by}
    )
    if is_new:
        record(made, "subscribe", by=by)
    return made


@transaction.atomic
def unsubscribe(pk: int, *, by: User) -> None:
    found = Subscription.objects.select_for_update().get(pk=pk)
    if found.person_id != by.pk:
        check(MAY_SUBSCRIBE_OTHERS, by, "end the subscription of somebody else")
    record(found, "unsubscribe", by=by)
    found.delete()


# --- messages -------------------------------------------------------------------------------------------------------


@transaction.atomic
def resend(pk: int, *, by: User) -> Notification:
    """Send it once more, to the same address, as a copy of its own. Not what is stale."""
    check(MAY_RESEND, by, "send a message again")
    old = Notification.objects.select_for_update(of=("self",)).select_related("message").get(pk=pk)
    if old.state not in (DeliveryState.DEAD, DeliveryState.SENT, DeliveryState.EXPIRED) or old.way == Way.BROWSER:
        raise MoveRefused(f"It is {old.get_state_display().lower()}: there is nothing to send again.", old)
    if old.message.expires_at <= timezone.now():
        raise MoveRefused("Its time is over: it would tell something that is not so any more.", old)
    copy = Notification.objects.create(
        message=old.message,
        person=old.person,
        channel=old.channel,
        way=old.way,
        label=old.label,
        address=old.address,
        again=old,
    )
    record(copy, "resend", by=by)
    transaction.on_commit(tasks.hint)
    return copy


def read(by: User) -> int:
    """All that is shown in the portal is read."""
    news = Notification.objects.filter(person=by, way=Way.BROWSER, read_at=None)
    return news.update(read_at=timezone.now())
