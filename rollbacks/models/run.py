"""The carrying-out of a rollback or a backup by a worker. This row, not a message, says who may work (DESIGN 5)."""

from __future__ import annotations

from pathlib import Path

from django.db import models
from django.db.models import Q
from django.utils import timezone

from rollbacks.models.restore_point import RestorePoint
from rollbacks.models.rollback import Rollback
from rollbacks.models.system import System
from rollbacks.tools import manifest
from rollbacks.tools.manifest import Manifest


class Run(models.Model):
    system = models.ForeignKey(System, models.PROTECT, related_name="runs")
    rollback = models.OneToOneField(Rollback, models.PROTECT, null=True, related_name="run")
    restore_point = models.OneToOneField(RestorePoint, models.PROTECT, null=True, related_name="run")
    made_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="nothing is left for a worker to do")

    token = models.PositiveBigIntegerField(default=0, help_text="fencing token of the last claim")
    holder = models.CharField(max_length=120, blank=True, help_text="identity of the process that holds the lease")
    worker = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)
    claims = models.PositiveIntegerField(default=0)

    manifest_text = models.TextField(blank=True, help_text="what the system's manifest said when it began")
    measured = models.JSONField(default=dict, help_text="the prober's numbers, in seconds")

    class Meta:
        ordering = ["-made_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(rollback__isnull=False) ^ Q(restore_point__isnull=False), name="a_run_has_one_subject"
            )
        ]
        indexes = [
            models.Index(fields=["ended_at", "lease_until"]),
            models.Index(fields=["lease_until"], condition=Q(lease_until__isnull=False), name="runs_with_a_lease"),
        ]

    def __str__(self) -> str:
        return f"Run {self.pk}"

    @property
    def manifest(self) -> Manifest:
        """What the worker works on: a run keeps the manifest that it began with."""
        own = manifest.parse(self.manifest_text) if self.manifest_text else self.system.manifest
        return own.elsewhere(Path(self.rollback.into)) if self.rollback and self.rollback.into else own

    @property
    def is_held_now(self) -> bool:
        return self.lease_until is not None and self.lease_until > timezone.now()


class StepState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    UNDOING = "undoing", "Undoing"
    UNDONE = "undone", "Undone"


class Step(models.Model):
    """One step of a run. Moved by the runner alone, under its token."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="steps")
    number = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)
    title = models.CharField(max_length=120)
    outage = models.BooleanField(default=False, help_text="the service is down in this step, and only in this one")
    state = models.CharField(max_length=10, choices=StepState, default=StepState.WAITING)
    token = models.PositiveBigIntegerField(default=0)
    facts = models.JSONField(default=dict, help_text="what it found and made: what its undo needs")
    trouble = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["number"]
        indexes = [models.Index(fields=["state"]), models.Index(fields=["name"])]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="steps_are_numbered"),
            models.UniqueConstraint(
                fields=["run"], condition=Q(state__in=[StepState.RUNNING, StepState.UNDOING]), name="one_running_step"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.title}"

    @property
    def seconds(self) -> float | None:
        if self.started_at is None:
            return None
        return ((self.ended_at or timezone.now()) - self.started_at).total_seconds()


class StepOutput(models.Model):
    """A piece of what a step said, masked; in the order of the primary key."""

    step = models.ForeignKey(Step, models.CASCADE, related_name="output")
    at = models.DateTimeField(default=timezone.now)
    text = models.TextField()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.text[:80]
