from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from incidents.models.on_call import known_zone
from portal.ledger import roles

STALE = timedelta(days=90)


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

    first_channel = models.CharField(
        max_length=5, choices=[("phone", "Phone"), ("chat", "Chat"), ("email", "Mail")], default="phone"
    )
    time_zone = models.CharField(max_length=60, default="UTC", validators=[known_zone], help_text="of the hours")
    deputies = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="+", help_text="who holds it too"
    )
    verified_on = models.DateField(null=True, editable=False)

    class Meta:
        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return f"{self.role}: {self.person_name}"

    @property
    def person_name(self) -> str:
        return roles.called(self.person) if self.person else "nobody yet"

    @property
    def channels(self) -> list[tuple[str, str]]:
        """(kind, where) in the order in which they are tried."""
        found = [(kind, getattr(self, kind)) for kind in ("phone", "chat", "email") if getattr(self, kind)]
        return sorted(found, key=lambda each: each[0] != self.first_channel)

    @property
    def is_stale(self) -> bool:
        """Nobody has tried it for a quarter of a year, or ever."""
        return self.verified_on is None or timezone.localdate() - self.verified_on > STALE
