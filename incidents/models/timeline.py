from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from incidents.models.incident import Incident


class TimelineEntry(models.Model):
    """One line of an incident's story. Written by actions, never edited; `url` is where the facts are. (Only the line
    that counts an alert's repeats grows, as long as it is the last one.)"""

    class Kind(models.TextChoices):
        MOVE = "move", "Move"
        NOTE = "note", "Note"
        UPDATE = "update", "Status update"
        ROLLBACK = "rollback", "Rollback"
        HEALTH = "health", "Health"
        ALERT = "alert", "Alert"
        ESCALATION = "escalation", "Escalation"

    incident = models.ForeignKey(Incident, models.PROTECT, related_name="timeline")
    at = models.DateTimeField(default=timezone.now)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    by_name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind)
    text = models.TextField()
    url = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["at", "pk"]
        verbose_name_plural = "timeline entries"

    def __str__(self) -> str:
        return self.text[:80]
