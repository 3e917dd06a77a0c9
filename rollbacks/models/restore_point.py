"""A restore point: a checked, self-contained backup of a system, in <backups>/<tag>/ on its host."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django_fsm import FSMField, transition

from portal.ledger.moves import StateModel
from portal.ledger.roles import MACHINE
from rollbacks.models.system import System


class RestorePointState(models.TextChoices):
    CREATING = "creating", "Creating"
    AVAILABLE = "available", "Available"
    VERIFIED = "verified", "Verified"
    FAILED = "failed", "Failed"
    CORRUPT = "corrupt", "Corrupt"
    PRUNED = "pruned", "Pruned"


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

    @property
    def is_target(self) -> bool:
        """May a rollback go there?"""
        return not self.bad and self.state in (RestorePointState.AVAILABLE, RestorePointState.VERIFIED)

    @transition("state", RestorePointState.CREATING, RestorePointState.AVAILABLE, permission=MACHINE)
    def seal(self) -> None:
        self.problem = ""

    @transition(
        "state",
        [RestorePointState.AVAILABLE, RestorePointState.VERIFIED, RestorePointState.CORRUPT],
        RestorePointState.VERIFIED,
        permission=MACHINE,
    )
    def verify(self) -> None:
        self.verified_at, self.problem = timezone.now(), ""

    @transition("state", RestorePointState.CREATING, RestorePointState.FAILED, permission=MACHINE)
    def fail(self) -> None:
        pass

    @transition(
        "state",
        [RestorePointState.AVAILABLE, RestorePointState.VERIFIED, RestorePointState.CORRUPT],
        RestorePointState.CORRUPT,
        permission=MACHINE,
    )
    def distrust(self) -> None:
        pass
