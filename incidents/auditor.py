"""The auditor: compares what should have been said (the ledger) with what was (the outbox), without a word from those
who write and send it. It shares with them only the list TELLS."""

from __future__ import annotations

import logging
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min, Q
from django.utils import timezone

from incidents.delivery import LEASE
from incidents.models.notification import TELLS, WAITING, Attempt, Audit, DeliveryState, Message, Notification, Way
from portal.ledger.models import Ledger

log = logging.getLogger(__name__)

LOOKS_BACK = timedelta(hours=1)
PATIENCE = timedelta(seconds=60)  # for which something due may wait
SILENT = timedelta(minutes=5)  # without an audit: then the auditor itself is down
SHOWN = 20
NOT_TAKEN = {
    Way.EMAIL: "the mail server does not take them",
    Way.APPRISE: "the services do not take them",
}


def audit() -> Audit:
    """Look, keep what was found, and tell the outside that all is well (only then)."""
    now = timezone.now()
    kept, _ = Audit.objects.get_or_create(pk=1, defaults={"since": now})
    kept.at, kept.findings = now, findings(kept.since, now)
    kept.save()
    for finding in kept.findings:
        log.error("audit of the notifications: %s", finding)
    if not kept.findings:
        beat()
    return kept


def findings(since: datetime, now: datetime) -> list[str]:
    """In words, what should have been said and was not."""
    return [*unsaid(max(since, now - LOOKS_BACK)), *stuck(now), *given_up(now)][:SHOWN]


def unsaid(since: datetime) -> list[str]:
    """Moves of which nobody was told."""
    wanted = Q()
    for kind, move in TELLS:
        wanted |= Q(kind=kind, move=move)
    rows = Ledger.objects.filter(wanted, at__gte=since)
    said = Message.objects.filter(made_at__gte=since - PATIENCE, cause__isnull=False).values("cause")
    return [
        f"{row.label}: {row.move} at {row.at:%H:%M:%S} UTC was told nobody" for row in rows.exclude(number__in=said)
    ]


def stuck(now: datetime) -> list[str]:
    late = Notification.objects.filter(state__in=WAITING, due_at__lt=now - PATIENCE).count()
    cut = Notification.objects.filter(state=DeliveryState.SENDING, claimed_at__lt=now - LEASE - PATIENCE).count()
    return [f"{late + cut} messages wait, and nobody takes them on"] if late + cut else []


def given_up(now: datetime) -> list[str]:
    dead = Notification.objects.filter(state=DeliveryState.DEAD, claimed_at__gte=now - LOOKS_BACK)
    return [
        f"“{each.message}” did not reach {each.to} by {each.by_way}"
        for each in dead.select_related("message", "person")
    ]


def beat() -> None:
    """The outside counts these: when they stop, it raises its own alarm."""
    if settings.HEARTBEAT_URL:
        try:
            urllib.request.urlopen(settings.HEARTBEAT_URL, timeout=5).close()  # noqa: S310 — the settings want http(s)
        except (OSError, ValueError) as error:
            log.warning("the heartbeat address does not answer: %s", type(error).__name__)


# --- for pages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backlog:
    """Messages that wait longer than they should, why, and since when."""

    count: int
    why: str
    since: datetime | None


def alarm() -> list[str]:
    """What a person has to know about the notifications; [] while all is well."""
    kept = Audit.objects.first()
    if kept is None:
        return []
    if timezone.now() - kept.at > SILENT:
        return [f"The auditor of the notifications has not looked since {kept.at:%H:%M} UTC: is the scheduler down?"]
    return list(kept.findings)


def backlogs() -> list[Backlog]:
    """What waits because the mail server or a service does not answer, or because no worker takes it on."""
    now = timezone.now()
    waiting = Notification.objects.filter(state__in=WAITING).exclude(way=Way.BROWSER)
    untouched = Q(tries=0, due_at__lt=now - PATIENCE / 2)
    failing = {way: Q(way=way, tries__gt=0) for way in NOT_TAKEN}
    seen = waiting.aggregate(  # one question: every page asks it
        untouched=Count("pk", filter=untouched),
        since=Min("due_at", filter=untouched),
        **{way: Count("pk", filter=rows) for way, rows in failing.items()},
    )
    found = []
    if count := seen["untouched"]:
        found.append(Backlog(count, "nobody takes them on: the broker or the notifier is down", seen["since"]))
    for way, why in NOT_TAKEN.items():
        if count := seen[way]:
            tried = Attempt.objects.filter(notification__in=waiting.filter(failing[way])).exclude(ended_at=None)
            found.append(Backlog(count, why, tried.aggregate(at=Min("began_at"))["at"]))
    return found


def deliveries(incident_pk: int) -> dict[str, int]:
    """How many messages of an incident are in each state, for its page."""
    copies = Notification.objects.filter(message__incident=incident_pk).exclude(way=Way.BROWSER)
    return dict(copies.order_by("state").values_list("state").annotate(Count("pk")))
