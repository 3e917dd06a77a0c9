"""The rollback log: the finished record of a rollback, in the guide's own format (section "Rollback Logging")."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from incidents.models import Severity
from rollbacks.models.rollback import Rollback
from rollbacks.models.system import System

TITLES = {
    "code": "Code Rollback",
    "config": "Configuration Rollback",
    "dependencies": "Dependency Rollback",
    "state": "State Rollback",
    "full": "Full Rollback",
    "partial": "Partial Rollback",
}
UNKNOWN = "Under investigation"


class RollbackLogEntry(models.Model):
    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        REVERTED = "reverted", "Reverted"
        SETTLED = "settled", "Settled by hand"

    rollback = models.OneToOneField(Rollback, models.PROTECT, related_name="log_entry")
    # The rollback's own, here too: the log is found by them, and has grown long when somebody looks for something.
    system = models.ForeignKey(System, models.PROTECT, related_name="+", db_index=False)
    severity = models.CharField(max_length=10, choices=Severity)
    at = models.DateTimeField(default=timezone.now, db_index=True)
    outcome = models.CharField(max_length=10, choices=Outcome)
    trigger = models.TextField()
    rollback_seconds = models.FloatField(help_text="from the start of the run to its last verified step")
    downtime_seconds = models.FloatField(null=True, help_text="without a healthy answer during the run, measured")
    outage_seconds = models.FloatField(null=True, help_text="without any answer during the run, measured")
    root_cause = models.TextField(default=UNKNOWN)
    prevention = models.TextField(default=UNKNOWN)

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=[each, "-at"]) for each in ("outcome", "system", "severity")]
        verbose_name_plural = "rollback log entries"

    def __str__(self) -> str:
        return f"{self.title} of {self.rollback.system}"

    @property
    def title(self) -> str:
        return TITLES[self.rollback.procedure]

    @classmethod
    def write(cls, rollback: Rollback, **measured: Any) -> RollbackLogEntry:
        """The one entry of a rollback: written anew when it is undone out of its watch."""
        own = {"system": rollback.system, "severity": rollback.severity, "trigger": rollback.reason}
        return cls.objects.update_or_create(rollback=rollback, defaults={**own, **measured})[0]


class ImportedLogEntry(models.Model):
    """An entry of a log that was written by hand, before the portal: no plan, no vote and no measurement stand behind
    it, so it is no rollback of the portal's, and is shown apart. Its severity and scope are the words that it used."""

    digest = models.CharField(max_length=64, unique=True, help_text="the same entry is imported once")
    at = models.DateTimeField(db_index=True)
    title = models.CharField(max_length=200)
    system = models.ForeignKey(System, models.PROTECT, null=True, related_name="imported_log")
    trigger = models.TextField(blank=True)
    severity = models.CharField(max_length=40, blank=True)
    scope = models.CharField(max_length=80, blank=True)
    rollback_time = models.CharField(max_length=80, blank=True)
    downtime = models.CharField(max_length=80, blank=True)
    root_cause = models.TextField(blank=True)
    prevention = models.TextField(blank=True)
    imported_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    imported_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name_plural = "imported log entries"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} - {self.title}"
