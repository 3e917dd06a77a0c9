"""Rotations, and what changes them for a while. Who is on call at an instant is worked out in incidents/on_call.py."""

from __future__ import annotations

from datetime import time
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from incidents.on_call import Plan, Span
from portal.ledger.roles import called

WEEKDAYS = list(enumerate(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]))


def known_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"“{name}” is no time zone: write it as Europe/Berlin or UTC.")


class Rotation(models.Model):
    name = models.CharField(max_length=80, unique=True)
    covers = models.CharField(max_length=200, help_text="which role or systems it is for")
    days = models.PositiveSmallIntegerField(
        "length of a shift", default=7, validators=[MinValueValidator(1), MaxValueValidator(90)], help_text="days"
    )
    weekday = models.PositiveSmallIntegerField("first handover on", choices=WEEKDAYS, default=0)
    handover = models.TimeField("handover at", default=time(9))
    time_zone = models.CharField(max_length=60, default="UTC", validators=[known_zone])
    starts = models.DateField(default=timezone.localdate)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def plan(self) -> Plan:
        """All that decides who is on call. Reads what was prefetched."""
        people = [each.person for each in self.turns.all()]
        overrides = list(self.overrides.all())
        everybody = {each.pk: each for each in [*people, *(each.person for each in overrides)]}
        away = [(each, person.pk) for person in everybody.values() for each in person.absences.all()]
        return Plan(
            people=[each.pk for each in people],
            days=self.days,
            weekday=self.weekday,
            handover=self.handover,
            zone=ZoneInfo(self.time_zone),
            starts=self.starts,
            overrides=[Span(each.starts_at, each.ends_at, each.person_id) for each in overrides],
            absences=[Span(each.starts_at, each.ends_at, pk) for each, pk in away],
            gone={pk: f"{called(each)} has left" for pk, each in everybody.items() if not each.is_active},
        )


class Turn(models.Model):
    rotation = models.ForeignKey(Rotation, models.CASCADE, related_name="turns")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="turns")
    order = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return f"{self.rotation}: {called(self.person)}"


class Override(models.Model):
    """Somebody else than the rotation says, for a while. A swap is two of them. The one made last counts."""

    rotation = models.ForeignKey(Rotation, models.CASCADE, related_name="overrides")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="overrides")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    note = models.CharField(max_length=200, blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["made_at", "pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(starts_at__lt=models.F("ends_at")), name="override_in_order")
        ]

    def __str__(self) -> str:
        return f"{self.rotation}: {called(self.person)} from {self.starts_at:%Y-%m-%d %H:%M}"


class Absence(models.Model):
    """When a person cannot be on call; brought in by their calendar."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="absences")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    summary = models.CharField(max_length=200, blank=True)
    uid = models.CharField(max_length=200)

    class Meta:
        ordering = ["starts_at", "pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(starts_at__lt=models.F("ends_at")), name="absence_in_order"),
            models.UniqueConstraint(fields=["person", "uid", "starts_at"], name="one_absence_per_event"),
        ]

    def __str__(self) -> str:
        return f"{called(self.person)} away from {self.starts_at:%Y-%m-%d %H:%M}"


class PrivateAddress(models.Model):
    """Where a person's calendar asks for their shifts. Only a hash of its token is kept."""

    person = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="private_address")
    token_hash = models.CharField(max_length=64, unique=True)
    made_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"address of {called(self.person)}"
