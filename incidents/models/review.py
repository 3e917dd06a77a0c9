from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from incidents.models.incident import Incident


class Review(models.Model):
    """A debt: somebody acted without the usual approval, and a Tech Lead has to look at it afterwards.

    While it is open, its incident cannot be closed.
    """

    class Kind(models.TextChoices):
        OVERRIDE = "override", "Approval overridden"
        IMMEDIATE = "immediate", "Immediate rollback"

    incident = models.ForeignKey(Incident, models.PROTECT, null=True, related_name="reviews")
    kind = models.CharField(max_length=10, choices=Kind)
    subject = models.CharField(max_length=200)
    url = models.CharField(max_length=200)
    reason = models.TextField()
    opened_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", help_text="for whom it was done"
    )
    opened_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField()
    reviewed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    reviewed_at = models.DateTimeField(null=True)
    note = models.TextField(blank=True)

    class Meta:
        ordering = ["due_at", "pk"]
        indexes = [models.Index(fields=["due_at"], condition=models.Q(reviewed_at=None), name="reviews_owed")]

    def __str__(self) -> str:
        return f"Review of {self.subject}"

    @property
    def is_open(self) -> bool:
        return self.reviewed_at is None

    @property
    def is_late(self) -> bool:
        return self.is_open and timezone.now() > self.due_at
