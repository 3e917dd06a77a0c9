"""An incident: a map of its life. What people do with it is in incidents/actions.py."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django_fsm import FSMField, transition

from portal.ledger.moves import StateModel
from portal.ledger.roles import EVERYBODY_AT_WORK, MACHINE, Role, at_least, called


class Severity(models.TextChoices):
    CRITICAL = "critical", "Critical"
    HIGH = "high", "High"
    MEDIUM = "medium", "Medium"
    LOW = "low", "Low"


class Scope(models.TextChoices):
    SYSTEM_WIDE = "system-wide", "System-wide"
    MULTIPLE = "multiple", "Multiple components"
    SINGLE = "single", "Single component"
    CONFIG = "config", "Configuration only"


class IncidentState(models.TextChoices):
    DECLARED = "declared", "Declared"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    MITIGATING = "mitigating", "Mitigating"
    MONITORING = "monitoring", "Monitoring"
    RESOLVED = "resolved", "Resolved"
    CLOSED = "closed", "Closed"
    CANCELLED = "cancelled", "Cancelled"


OPEN = [IncidentState.DECLARED, IncidentState.ACKNOWLEDGED, IncidentState.MITIGATING, IncidentState.MONITORING]
RESPONSE = {
    Severity.CRITICAL: timedelta(minutes=15),
    Severity.HIGH: timedelta(hours=1),
    Severity.MEDIUM: timedelta(hours=4),
}


def respond_by(severity: str, declared: datetime) -> datetime:
    """When somebody has to have acknowledged: 15 min, 1 h, 4 h; for Low the end (17:00) of the next working day."""
    if severity != Severity.LOW:
        return declared + RESPONSE[Severity(severity)]
    day = timezone.localtime(declared) + timedelta(days=1)
    while day.weekday() >= 5:
        day += timedelta(days=1)
    return datetime.combine(day.date(), time(17), tzinfo=day.tzinfo)


def reviewed(incident: Any) -> bool:
    """A review is still open (an override, or an immediate rollback): a Tech Lead has to answer it first."""
    return not incident.reviews.filter(reviewed_at=None).exists()


def looked_back(incident: Any) -> bool:
    """It has no published post-mortem: write one and let somebody else publish it; for Medium and Low a Tech Lead may
    waive it."""
    postmortem = getattr(incident, "postmortem", None)
    return hasattr(incident, "waiver") or (postmortem is not None and postmortem.published_at is not None)


def assigned(incident: Any) -> bool:
    """An action item has no owner or no due date: give it both, or drop it with a reason."""
    lacking = models.Q(owner=None) | models.Q(due_at=None)
    return not incident.action_items.filter(lacking, state__in=["open", "in_progress"]).exists()


class Incident(StateModel):
    title = models.CharField(max_length=200)
    summary = models.TextField(blank=True)
    severity = models.CharField(max_length=10, choices=Severity)
    scope = models.CharField(max_length=12, choices=Scope)
    state = FSMField(default=IncidentState.DECLARED, choices=IncidentState, protected=True, db_index=True)
    declared_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    declared_from = models.CharField(max_length=60, blank=True, help_text="the source that declared it, if no person")
    declared_at = models.DateTimeField(default=timezone.now, db_index=True)
    respond_by = models.DateTimeField()
    acknowledged_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    acknowledged_at = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-declared_at", "-pk"]
        indexes = [models.Index(fields=["state", "-declared_at"])]

    def __str__(self) -> str:
        return f"Incident {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("incidents:incident", args=[self.pk])

    @property
    def declarer(self) -> str:
        return called(self.declared_by) if self.declared_by or not self.declared_from else self.declared_from

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_late(self) -> bool:
        """Nobody has acknowledged it within its severity's time."""
        return self.state == IncidentState.DECLARED and timezone.now() > self.respond_by

    @transition("state", IncidentState.DECLARED, IncidentState.ACKNOWLEDGED, permission=at_least(Role.ENGINEER))
    def acknowledge(self) -> None:
        self.acknowledged_at = timezone.now()

    @transition(
        "state",
        [IncidentState.DECLARED, IncidentState.ACKNOWLEDGED, IncidentState.MONITORING],
        IncidentState.MITIGATING,
        permission=at_least(Role.ENGINEER, machine=True),
    )
    def mitigate(self) -> None:
        pass

    @transition(
        "state",
        [IncidentState.ACKNOWLEDGED, IncidentState.MITIGATING],
        IncidentState.MONITORING,
        permission=at_least(Role.ENGINEER, machine=True),
    )
    def monitor(self) -> None:
        pass

    @transition(
        "state",
        [IncidentState.ACKNOWLEDGED, IncidentState.MITIGATING, IncidentState.MONITORING],
        IncidentState.RESOLVED,
        permission=at_least(Role.ENGINEER),
    )
    def resolve(self) -> None:
        self.resolved_at = timezone.now()

    @transition(
        "state",
        IncidentState.RESOLVED,
        IncidentState.CLOSED,
        permission=at_least(Role.ENGINEER),
        conditions=[reviewed, looked_back, assigned],
    )
    def close(self) -> None:
        self.closed_at = timezone.now()

    @transition(
        "state",
        [IncidentState.DECLARED, IncidentState.ACKNOWLEDGED, IncidentState.MITIGATING],
        IncidentState.CANCELLED,
        permission=at_least(Role.ENGINEER),
    )
    def cancel(self) -> None:
        self.closed_at = timezone.now()

    @transition(
        "state",
        [IncidentState.MONITORING, IncidentState.RESOLVED],
        IncidentState.MITIGATING,
        permission=at_least(Role.ENGINEER, machine=True),
    )
    @transition("state", IncidentState.CLOSED, IncidentState.MITIGATING, permission=MACHINE)
    def reopen(self) -> None:
        """From closed only by a rollback whose watch lost health: people declare a new incident (decision 15)."""
        self.resolved_at = self.closed_at = None


DECLARERS = EVERYBODY_AT_WORK  # declaring creates the record, so no transition carries this
