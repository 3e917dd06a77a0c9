"""What sources do to incidents: the first message declares one, its repeats are counted, and that it is over is
proposed to people. A machine never moves an incident backwards, and never resolves or un-acknowledges one."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from incidents.actions import begin, check, tell
from incidents.arrivals import SYSTEM_LABELS, Arrival
from incidents.models import Alert, Incident, Refusal, Source, Tally, TimelineEntry
from incidents.models.source import hashed
from portal.ledger.models import record, take_turn
from portal.ledger.moves import ago
from portal.ledger.roles import Person, Role, any_of

MAY_MANAGE = any_of(Role.TECH_LEAD, Role.DEVOPS)
A_MINUTE = 3000  # messages of one source from one address
WRONG_A_MINUTE = 20  # wrong tokens from one address
REFUSALS_KEPT = 20


# --- a message ------------------------------------------------------------------------------------------------------


@transaction.atomic
def arrive(source: Source, arrival: Arrival) -> Alert | None:
    """Into the open incident of its key, or into a new one; None when something is over that never was here."""
    take_turn()
    now = timezone.now()
    Source.objects.filter(pk=source.pk).update(heard_at=now)
    alert = source.alerts.select_related("incident", "bundle").filter(key=arrival.key, open=True).first()
    if alert is None:
        return first(source, arrival, now) if arrival.firing else None
    alert.last_at = now
    if not arrival.firing:
        over(alert)
    elif not alert.firing:
        again(alert)
    else:
        repeat(alert)
    alert.save()
    return alert


def first(source: Source, arrival: Arrival, now: datetime) -> Alert:
    before = source.alerts.select_related("incident").filter(key=arrival.key).first()
    incident = begin(
        by=None,
        title=arrival.title,
        severity=source.severity_of(arrival.severity, arrival.labels),
        scope=source.scope_of(arrival.labels),
        summary=arrival.summary,
        declared_from=source.name,
    )
    said = f"{source.get_kind_display()} ({source.name}) declared the incident."
    if before is not None:
        seconds = round((now - before.last_at).total_seconds())
        said += f" The same alert was {before.incident}, last heard of {ago(max(0, seconds))} ago."
    tell(incident, None, TimelineEntry.Kind.ALERT, said, "" if before is None else before.incident.get_absolute_url())
    return Alert.objects.create(
        source=source,
        key=arrival.key,
        incident=incident,
        title=arrival.title,
        system=arrival.labels.get(source.system_label, ""),
        url=arrival.url,
        first_at=now,
        last_at=now,
    )


def repeat(alert: Alert) -> None:
    """Counted in one line, as long as nothing else is written below it."""
    alert.count += 1
    newest = alert.incident.timeline.order_by("-at", "-pk").values_list("pk", flat=True).first()
    if alert.bundle is None or alert.bundle_id != newest:
        alert.bundle, alert.bundled = tell(alert.incident, None, TimelineEntry.Kind.ALERT, "…"), 0
    alert.bundled += 1
    times = "once more" if alert.bundled == 1 else f"{alert.bundled} more times"
    alert.bundle.text = f"{alert.source.name} said it {times}, until {alert.last_at:%H:%M} UTC."
    alert.bundle.save(update_fields=["text"])


def over(alert: Alert) -> None:
    """Said once; whether it really is over, people decide."""
    if alert.firing:
        alert.firing = False
        said = f"{alert.source.name} says that it is over. Resolve the incident if you see the same."
        tell(alert.incident, None, TimelineEntry.Kind.ALERT, said)


def again(alert: Alert) -> None:
    alert.firing = True
    alert.count += 1
    tell(alert.incident, None, TimelineEntry.Kind.ALERT, f"{alert.source.name} says that it is back.")


# --- at the door ----------------------------------------------------------------------------------------------------


def knock(who: str) -> int:
    """How often this one has knocked in this minute, now included."""
    minute = timezone.now().replace(second=0, microsecond=0)
    if not Tally.objects.filter(who=who, minute=minute).update(count=F("count") + 1):
        Tally.objects.filter(minute__lt=minute - timedelta(minutes=5)).delete()
        Tally.objects.get_or_create(who=who, minute=minute)
        Tally.objects.filter(who=who, minute=minute).update(count=F("count") + 1)
    return Tally.objects.values_list("count", flat=True).get(who=who, minute=minute)


@transaction.atomic
def refuse(source: Source, address: str, said: str) -> None:
    """Kept for whoever sets the source up; the newest few."""
    Refusal.objects.create(source=source, address=address[:45], said=said[:300])
    kept = source.refusals.values_list("pk", flat=True)[:REFUSALS_KEPT]
    source.refusals.exclude(pk__in=list(kept)).delete()


# --- the sources ----------------------------------------------------------------------------------------------------


@transaction.atomic
def add_source(*, by: Person, name: str, kind: str, **words: object) -> tuple[Source, str]:
    """The source, and its token, which is nowhere kept. Raises NotAllowed."""
    check(MAY_MANAGE, by, "add a source")
    assert by is not None
    token = secrets.token_urlsafe(32)
    words = {"system_label": SYSTEM_LABELS[kind], **words}
    source = Source.objects.create(name=name, kind=kind, token_hash=hashed(token), made_by=by, **words)
    record(source, "add", by=by, source_kind=kind)
    return source, token


@transaction.atomic
def change_source(pk: int, *, by: Person, **words: object) -> Source:
    """Raises NotAllowed."""
    check(MAY_MANAGE, by, "change a source")
    take_turn()
    source = Source.objects.select_for_update().get(pk=pk)
    changed = {name: value for name, value in words.items() if getattr(source, name) != value}
    for name, value in changed.items():
        setattr(source, name, value)
    source.save()
    record(source, "change", by=by, fields=sorted(changed))
    return source


@transaction.atomic
def rotate_token(pk: int, *, by: Person) -> tuple[Source, str]:
    """The old one is refused from now on. Raises NotAllowed."""
    check(MAY_MANAGE, by, "rotate a source's token")
    take_turn()
    source = Source.objects.select_for_update().get(pk=pk)
    token = secrets.token_urlsafe(32)
    source.token_hash = hashed(token)
    source.save()
    record(source, "rotate token", by=by)
    return source, token


def over_alerts(incident: Incident) -> list[Alert]:
    """What sources say is over, when nothing of the incident still fires: then it can be resolved."""
    alerts = list(incident.alerts.all())
    return [] if any(alert.firing for alert in alerts) else alerts
