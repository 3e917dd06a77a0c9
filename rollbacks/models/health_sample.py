"""The watch of a rollback, look by look: what its chart is drawn from."""

from __future__ import annotations

from django.db import models

from rollbacks.models.rollback import Rollback


class HealthSample(models.Model):
    """One look at a system's health while a rollback of it was under watch."""

    rollback = models.ForeignKey(Rollback, models.CASCADE, related_name="health_samples")
    at = models.DateTimeField()
    second = models.PositiveIntegerField(help_text="whole seconds into the watch")
    healthy = models.BooleanField()
    milliseconds = models.FloatField(help_text="until the answer, or until it was given up")
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["at", "pk"]
        indexes = [models.Index(fields=["rollback", "second"])]

    def __str__(self) -> str:
        return f"{self.rollback}, second {self.second}: {self.detail}"
