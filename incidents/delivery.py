"""The outbox's machine: claims what is due, has it sent, writes down what became of it, tries again later.

Everything is a conditional UPDATE, so any number of these may run at once, and be killed at any point. A send happens
outside any transaction: its Attempt is committed before, so that a crash leaves one without an end, which says so.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from incidents.models.incident import Severity
from incidents.models.notification import WAITING, Attempt, Channel, DeliveryState, Notification, Way
from incidents.sending import Letter, NotTaken, Refused, destination, send

BACK_OFF = [5, 30, 120, 600, 600, 1800, 3600, 7200]  # seconds until it is tried again; afterwards it is given up
LEASE = timedelta(seconds=60)  # a claim that is older was cut short
AT_ONCE = 8  # sends under way in one process
AT_ONE = 4  # of them to one destination: one that hangs leaves the others theirs
LOOK_AT = 100  # due notifications at a time
BUNDLE_OVER = 3  # for one address, within
BUNDLE_SECONDS = 120


@dataclass(frozen=True)
class Claim:
    """What one send stands for: the notification that goes out, and those that go with it."""

    pks: tuple[int, ...]
    attempts: tuple[int, ...]
    letter: Letter
    channels: tuple[int, ...]
    destination: str
    began: datetime
    is_late: bool = False


def deliver(most: int = 2000) -> int:
    """Send what is due until nothing is; how many notifications were claimed. What hangs is left to its time limit."""
    take_back()
    expire()
    claimed = 0
    pool = ThreadPoolExecutor(AT_ONCE, "send")
    under_way: dict[Future[None], Claim] = {}
    try:
        while True:
            for claim in claims(under_way) if claimed < most else ():
                claimed += len(claim.pks)
                under_way[pool.submit(send, claim.letter)] = claim
            if not under_way:
                return claimed
            collect(under_way)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def collect(under_way: dict[Future[None], Claim]) -> None:
    """Wait for the next that ends, and write down what ended. One past its time counts as failed, whatever it does."""
    done, _ = wait(under_way, timeout=0.5, return_when=FIRST_COMPLETED)
    late = timezone.now() - timedelta(seconds=settings.NOTIFY_SECONDS * 3)
    with transaction.atomic():
        for future in done:
            error = future.exception()
            ended(under_way.pop(future), "" if error is None else said_by(error))
        for future, claim in list(under_way.items()):
            if claim.began < late and not claim.is_late:
                ended(claim, "no answer in time: it may have arrived all the same", doubtful=True)
                under_way[future] = replace(claim, is_late=True)  # a hand that is not free; its yes still counts


def said_by(error: BaseException) -> str:
    """What an Attempt may say. A fault of ours is named by its kind only: its words may hold an address."""
    return str(error) if isinstance(error, NotTaken | Refused) else f"unexpected: {type(error).__name__}"


# --- claiming -------------------------------------------------------------------------------------------------------


def due() -> QuerySet[Notification]:
    return Notification.objects.filter(state__in=WAITING, due_at__lte=timezone.now()).exclude(way=Way.BROWSER)


@transaction.atomic
def claims(under_way: dict[Future[None], Claim]) -> list[Claim]:
    """As many as there are hands free, the oldest first; one address gets one message at a time."""
    busy = Counter(claim.destination for claim in under_way.values())
    busy_addresses = {claim.letter.address for claim in under_way.values()}
    free = AT_ONCE - len(under_way)
    found: list[Claim] = []
    if not free:
        return found
    waiting = due().exclude(address__in=busy_addresses).order_by("due_at", "pk").values_list("address", "way")
    for address, way in dict(waiting[:LOOK_AT]).items():
        if len(found) == free:
            break
        to = destination(way, address)
        if busy[to] < AT_ONE and (claim := claim_for(address)):
            busy[to] += 1
            found.append(claim)
    return found


def claim_for(address: str) -> Claim | None:
    """Take the next that is due for an address: one by itself, or (more than three in two minutes) all of it as one."""
    now = timezone.now()
    rows = due().filter(address=address).select_related("message").order_by("due_at", "pk")
    held = list(rows.select_for_update(of=("self",), skip_locked=True)[:LOOK_AT])
    urgent = [row for row in held if is_urgent(row)]
    if urgent:
        return taken(urgent[:1], now)
    lately = recently_sent(address, now)
    if held and len(lately) >= BUNDLE_OVER:
        put_off(held, lately[0] + timedelta(seconds=BUNDLE_SECONDS))
        return None
    group = held if len(held) > BUNDLE_OVER else held[:1]
    return taken(group, now) if group else None


def is_urgent(row: Notification) -> bool:
    """Critical waits for no bundle; nor does what somebody stands and waits for."""
    return row.message.severity in ("", Severity.CRITICAL) or row.again_id is not None


def recently_sent(address: str, now: datetime) -> list[datetime]:
    """When an address was last sent something by itself, the oldest first."""
    since = now - timedelta(seconds=BUNDLE_SECONDS)
    sent = Notification.objects.filter(address=address, sent_at__gt=since, bundle=None)
    return sorted(at for at in sent.values_list("sent_at", flat=True) if at)


def put_off(rows: list[Notification], until: datetime) -> None:
    Notification.objects.filter(pk__in=[row.pk for row in rows]).update(due_at=until)


def taken(rows: list[Notification], now: datetime) -> Claim:
    """Claim them: from now on, only an end of this attempt or the end of its lease moves them."""
    pks = tuple(row.pk for row in rows)
    Notification.objects.filter(pk__in=pks).update(
        state=DeliveryState.SENDING, claimed_at=now, tries=F("tries") + 1, bundle=None
    )
    Notification.objects.filter(pk__in=pks[1:]).update(bundle=rows[0].pk)  # asks nothing when there are none
    attempts = tuple(Attempt.objects.create(notification=row, began_at=now).pk for row in rows)
    lead = rows[0]
    letter = Letter(lead.pk, lead.way, lead.address, *worded(rows))
    channels = tuple({row.channel_id for row in rows if row.channel_id})
    return Claim(pks, attempts, letter, channels, destination(lead.way, lead.address), now)


def worded(rows: list[Notification]) -> tuple[str, str]:
    """(subject, text) of one notification, or of a bundle."""
    lines = [f"{settings.PORTAL_URL}{row.message.url}" if row.message.url else "" for row in rows]
    if len(rows) == 1:
        subject, text = rows[0].message.subject, f"{rows[0].message.text}\n\n{lines[0]}"
    else:
        subject = f"{len(rows)} messages: {rows[-1].message.subject}"[:200]
        parts = [f"{row.message.subject}\n{row.message.text}\n{line}" for row, line in zip(rows, lines, strict=True)]
        text = "\n\n".join(parts)
    if any(row.doubtful for row in rows):
        text += "\n\nThis may reach you twice: the portal was cut short while it sent it before."
    return subject, text.strip()


# --- what became of it ----------------------------------------------------------------------------------------------


def ended(claim: Claim, trouble: str, *, doubtful: bool = False) -> None:
    """A yes counts whenever it comes; a no only while the claim is still ours."""
    now = timezone.now()
    outcome = Attempt.Outcome.FAILED if trouble else Attempt.Outcome.SENT
    Attempt.objects.filter(pk__in=claim.attempts).update(ended_at=now, outcome=outcome, detail=trouble[:300])
    rows = Notification.objects.filter(pk__in=claim.pks)
    if not trouble:
        rows.filter(state__in=[DeliveryState.SENDING, *WAITING]).update(state=DeliveryState.SENT, sent_at=now)
        Channel.objects.filter(pk__in=claim.channels).exclude(trouble="").update(trouble="", trouble_at=None)
        return
    for row in rows.filter(state=DeliveryState.SENDING, claimed_at=claim.began):
        give_up_or_wait(row, trouble, now, doubtful)


def give_up_or_wait(row: Notification, trouble: str, now: datetime, doubtful: bool) -> None:
    mine = Notification.objects.filter(pk=row.pk, state=DeliveryState.SENDING)
    if row.tries > len(BACK_OFF):
        mine.update(state=DeliveryState.DEAD)
        Channel.objects.filter(pk=row.channel_id or 0).update(trouble=trouble[:300], trouble_at=now)
        return
    later = now + timedelta(seconds=BACK_OFF[row.tries - 1])
    mine.update(state=DeliveryState.FAILED, due_at=later, doubtful=row.doubtful or doubtful, bundle=None)


@transaction.atomic
def take_back() -> int:
    """What a killed process was sending: the attempt is closed as interrupted, and it is tried again, with a word that
    it may arrive twice. To be told twice is better than never."""
    now = timezone.now()
    cut = Notification.objects.filter(state=DeliveryState.SENDING, claimed_at__lt=now - LEASE)
    pks = list(cut.values_list("pk", flat=True))
    if not pks:
        return 0
    open_ended = Attempt.objects.filter(notification__in=pks, ended_at=None)
    open_ended.update(
        ended_at=now, outcome=Attempt.Outcome.INTERRUPTED, detail="the portal was cut short while sending"
    )
    rows = Notification.objects.filter(pk__in=pks, state=DeliveryState.SENDING, claimed_at__lt=now - LEASE)
    return rows.update(state=DeliveryState.PENDING, due_at=now, doubtful=True, bundle=None)


def expire() -> int:
    """What nobody needs to hear any more is not sent late."""
    late = Notification.objects.filter(state__in=WAITING, message__expires_at__lte=timezone.now())
    return late.update(state=DeliveryState.EXPIRED)
