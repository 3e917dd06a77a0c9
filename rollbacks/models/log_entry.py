"""The rollback log: the finished record of a rollback, in the guide's own format (section "Rollback Logging")."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from rollbacks.models.rollback import Rollback

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
        indexes = [models.Index(fields=["outcome", "-at"])]
        verbose_name_plural = "rollback log entries"

    def __str__(self) -> str:
        return f"{self.title} of {self.rollback.system}"

    @property
    def title(self) -> str:
        return TITLES[self.rollback.procedure]
