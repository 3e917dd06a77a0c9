"""What only a person can know about a rollback: their ticks on its checklist. What evidence shows is not kept here."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from rollbacks.models.rollback import Rollback


class ChecklistTick(models.Model):
    """A tick, or its withdrawal: the newest word on an item holds. Append-only: the database refuses a change
    (migration 0006)."""

    rollback = models.ForeignKey(Rollback, models.PROTECT, related_name="ticks")
    item = models.SlugField(max_length=40)
    withdrawn = models.BooleanField(default=False, help_text="this word takes the one before it back")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    note = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.item} of {self.rollback}: {'withdrawn' if self.withdrawn else 'ticked'} by {self.by}"
