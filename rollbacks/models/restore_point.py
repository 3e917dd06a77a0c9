"""A restore point: a checked, self-contained backup of a system, in <backups>/<tag>/ on its host."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django_fsm import FSMField, transition

from portal.ledger.moves import StateModel
from portal.ledger.roles import MACHINE, Person, Role, Who, any_of, called
from rollbacks.models.system import System


class RestorePointState(models.TextChoices):
    CREATING = "creating", "Creating"
    AVAILABLE = "available", "Available"
    VERIFIED = "verified", "Verified"
    FAILED = "failed", "Failed"
    CORRUPT = "corrupt", "Corrupt"
    PRUNED = "pruned", "Pruned"


READABLE = [RestorePointState.AVAILABLE, RestorePointState.VERIFIED, RestorePointState.CORRUPT]  # it is on the disk
CODE_STAYS = ["config", "dependencies", "state"]  # what these leave behind is not the commit, which goes on being live
STALE_AFTER = timedelta(hours=24)  # since it was last read back


def pruner(point: RestorePoint, person: Person) -> str:
    return "" if person is None else any_of(Role.TECH_LEAD, Role.DEVOPS).why_not(point, person)


PRUNER = Who("Tech Lead / DevOps or the machine", pruner)


class RestorePoint(StateModel):
    class Kind(models.TextChoices):
        BACKUP = "backup", "Backup"
        SAFETY = "safety", "Safety point"  # made by a rollback, of what it found
        HAND_MADE = "hand-made", "Made by hand"  # before the portal was there, and taken over

    system = models.ForeignKey(System, models.PROTECT, related_name="restore_points")
    tag = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.BACKUP)
    state = FSMField(default=RestorePointState.CREATING, choices=RestorePointState, protected=True)
    reason = models.CharField(max_length=200, blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    commit = models.CharField(max_length=40, blank=True)
    size = models.PositiveBigIntegerField(default=0, help_text="bytes on disk")
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    parts = models.JSONField(default=list, help_text="what it holds, in words")
    lacks = models.JSONField(default=list, help_text="what a backup made by hand does not hold, in words")
    verified_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True)
    pinned = models.BooleanField(default=False)
    bad = models.BooleanField(default=False, help_text="a state that was left behind: never offered as a target")
    bad_reason = models.CharField(max_length=200, blank=True)
    bad_at = models.DateTimeField(null=True)
    bad_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", help_text="nobody: the portal marked it"
    )
    found_by = models.ForeignKey(
        "rollbacks.Rollback",
        models.PROTECT,
        null=True,
        related_name="found",
        help_text="a safety point: the rollback that found this state",
    )

    class Meta:
        ordering = ["-made_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["system", "tag"], name="one_restore_point_per_tag")]
        indexes = [models.Index(fields=["system", "-made_at"])]

    def __str__(self) -> str:
        return f"Restore point {self.tag}"

    def get_absolute_url(self) -> str:
        return reverse("rollbacks:system", args=[self.system.name])

    @classmethod
    def bad_releases(cls, system: System, commits: Iterable[str]) -> dict[str, RestorePoint]:
        """Those of the commits that are marked bad, each with the newest mark on it."""
        marked = cls.objects.filter(system=system, bad=True, commit__in=[each for each in commits if each])
        told = marked.exclude(found_by__procedure__in=CODE_STAYS).select_related("found_by__incident", "bad_by")
        return {point.commit: point for point in told.order_by("bad_at", "pk")}

    @classmethod
    def bad_release(cls, system: System, commit: str) -> RestorePoint | None:
        return cls.bad_releases(system, [commit]).get(commit)

    @property
    def mark(self) -> str:
        """What a person has to know of a bad one before going there: since when, why, and by whom."""
        when = f" {self.bad_at:%-d %b %Y %H:%M} UTC" if self.bad_at else ""
        by = f" by {called(self.bad_by)}" if self.bad_by else ""
        about = self.found_by.incident if self.found_by else None
        story = f" ({about}: {about.title})" if about else ""
        return f"was marked bad{when}{by}: {self.bad_reason}{story}"

    @property
    def is_target(self) -> bool:
        """May a rollback go there?"""
        return not self.bad and self.state in (RestorePointState.AVAILABLE, RestorePointState.VERIFIED)

    @property
    def is_stale(self) -> bool:
        """Nobody has read it back for a day: it is a target all the same, but people are told."""
        return self.is_target and timezone.now() - (self.verified_at or self.made_at) > STALE_AFTER

    @transition("state", RestorePointState.CREATING, RestorePointState.AVAILABLE, permission=MACHINE)
    def seal(self) -> None:
        self.problem = ""

    @transition("state", READABLE, RestorePointState.VERIFIED, permission=MACHINE)
    def verify(self) -> None:
        self.verified_at, self.problem = timezone.now(), ""

    @transition("state", RestorePointState.CREATING, RestorePointState.FAILED, permission=MACHINE)
    def fail(self) -> None:
        pass

    @transition("state", READABLE, RestorePointState.CORRUPT, permission=MACHINE)
    def distrust(self) -> None:
        pass

    @transition("state", READABLE, RestorePointState.PRUNED, permission=PRUNER)
    def prune(self) -> None:
        """Its directory and its tags go afterwards, on its host: from now on nobody is sent there."""
