from __future__ import annotations

from django.conf import settings
from django.db import models

from portal.ledger import roles


class EmergencyContact(models.Model):
    """Whom to reach, for what, and how: the guide's section "Emergency Contacts", as records."""

    role = models.CharField(max_length=20, choices=roles.CHOICES)
    duty = models.CharField(max_length=200, help_text="what this contact is for")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="contacts")
    phone = models.CharField(max_length=40, blank=True)
    email = models.EmailField(blank=True)
    chat = models.CharField(max_length=80, blank=True)
    hours = models.CharField(max_length=80, blank=True, help_text='e.g. "always", "weekdays 9–17 UTC"')
    order = models.PositiveSmallIntegerField(default=0, help_text="lower is called first")

    class Meta:
        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return f"{self.role}: {self.person_name}"

    @property
    def person_name(self) -> str:
        return roles.called(self.person) if self.person else "nobody yet"
