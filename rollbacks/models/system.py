"""A managed system: what its manifest says, and what the watcher last saw of it."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from incidents.models import Incident
from portal.ledger.moves import StateManager
from rollbacks.tools import manifest


class Health(models.TextChoices):
    UNKNOWN = "unknown", "Unknown"
    HEALTHY = "healthy", "Healthy"
    UNHEALTHY = "unhealthy", "Unhealthy"


class System(models.Model):
    name = models.SlugField(max_length=80, unique=True)
    manifest_text = models.TextField("manifest", help_text="system.toml")
    host = models.CharField(max_length=80, default="local", editable=False)
    environment = models.CharField(max_length=20, default="production", editable=False)
    retired = models.BooleanField(default=False, help_text="no longer watched, no new rollbacks; its record stays")
    incidents = models.ManyToManyField(Incident, related_name="systems", editable=False)

    fence = models.PositiveBigIntegerField(default=0, editable=False, help_text="the highest fencing token given out")
    health = models.CharField(max_length=10, choices=Health, default=Health.UNKNOWN, editable=False)
    health_since = models.DateTimeField(default=timezone.now, editable=False)
    health_detail = models.CharField(max_length=300, blank=True, editable=False)
    health_checked_at = models.DateTimeField(null=True, editable=False)
    facts = models.JSONField(default=dict, editable=False, help_text="what the host's worker last saw: versions, space")
    facts_at = models.DateTimeField(null=True, editable=False)

    objects = StateManager["System"]()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("rollbacks:system", args=[self.name])

    @property
    def manifest(self) -> manifest.Manifest:
        """The parsed manifest. Raises ManifestError (then somebody wrote to the database past the form)."""
        return manifest.parse(self.manifest_text)

    @property
    def queue(self) -> str:
        return f"host.{self.host}"

    @property
    def is_sample(self) -> bool:
        return Path(settings.HOME) / "sample" in self.manifest.root.parents


class HealthChange(models.Model):
    """When a system's health turned: the page's history, and what tells an open page to look again."""

    system = models.ForeignKey(System, models.CASCADE, related_name="health_changes")
    at = models.DateTimeField(default=timezone.now)
    health = models.CharField(max_length=10, choices=Health)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["system", "-at"])]

    def __str__(self) -> str:
        return f"{self.system} {self.health}"
