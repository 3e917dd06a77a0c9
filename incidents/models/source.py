"""Where incidents come from by themselves: a tool with a token, and what it has said."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse
from django.utils import timezone

from incidents.models.incident import Incident, Scope, Severity
from incidents.models.timeline import TimelineEntry

SEVERITIES = {  # what tools say; a source may say it otherwise
    "critical": "critical", "fatal": "critical", "page": "critical", "emergency": "critical", "disaster": "critical",
    "high": "high", "error": "high", "failure": "high", "major": "high",
    "medium": "medium", "warning": "medium", "minor": "medium", "average": "medium",
    "low": "low", "info": "low", "information": "low", "debug": "low", "none": "low",
}  # fmt: skip


def known_severities(given: object) -> None:
    """A map from a tool's word to one of the portal's severities."""
    if not isinstance(given, dict) or any(str(value) not in Severity.values for value in given.values()):
        raise ValidationError(f"Each word needs one of {', '.join(Severity.values)}.")


class Source(models.Model):
    class Kind(models.TextChoices):
        ALERTMANAGER = "alertmanager", "Prometheus Alertmanager"
        GRAFANA = "grafana", "Grafana"
        SENTRY = "sentry", "Sentry"
        GITHUB = "github", "GitHub deployments"
        GENERIC = "generic", "Anything else (generic)"

    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=12, choices=Kind)
    token_hash = models.CharField(max_length=64, editable=False)
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.HIGH)
    severities = models.JSONField(default=dict, blank=True, validators=[known_severities])
    scope = models.CharField(max_length=12, choices=Scope, default=Scope.SINGLE)
    system_label = models.CharField(max_length=80, default="system")
    enabled = models.BooleanField(default=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    heard_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("incidents:source", args=[self.name])

    def has_token(self, token: str) -> bool:
        """Compared in a time that says nothing about how much of it was right."""
        return hmac.compare_digest(self.token_hash, hashed(token))

    def severity_of(self, word: str, labels: dict[str, str]) -> str:
        """In the portal's words: the source's own map first, then what tools usually mean, then its default."""
        word = (word or labels.get("severity", "")).lower()
        return str(self.severities.get(word) or SEVERITIES.get(word) or self.severity)

    def scope_of(self, labels: dict[str, str]) -> str:
        return labels["scope"] if labels.get("scope") in Scope.values else self.scope


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


class Alert(models.Model):
    """One trouble of one source, as long as its incident is open. When it comes again afterwards, that is a new one."""

    source = models.ForeignKey(Source, models.PROTECT, related_name="alerts")
    key = models.CharField(max_length=200)
    incident = models.ForeignKey(Incident, models.PROTECT, related_name="alerts")
    title = models.CharField(max_length=200)
    system = models.CharField(max_length=200, blank=True, help_text="what the source calls it")
    url = models.CharField(max_length=500, blank=True)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now, db_index=True)
    count = models.PositiveIntegerField(default=1)
    firing = models.BooleanField(default=True)
    open = models.BooleanField(default=True, help_text="its incident is open")
    bundle = models.ForeignKey(TimelineEntry, models.PROTECT, null=True, related_name="+")
    bundled = models.PositiveIntegerField(default=0, help_text="how many repeats that line of the timeline stands for")

    class Meta:
        ordering = ["-last_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "key"], condition=models.Q(open=True), name="one_open_incident_per_key"
            )
        ]
        indexes = [models.Index(fields=["source", "-last_at"])]

    def __str__(self) -> str:
        return f"{self.title} ({self.source.name})"


class Refusal(models.Model):
    """What a source sent in vain, so that whoever sets it up sees why. The newest few are kept."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="refusals")
    at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=45)
    said = models.CharField(max_length=300)

    class Meta:
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return self.said


class Tally(models.Model):
    """How often somebody knocked in this minute. A row, because each web process has a memory of its own."""

    who = models.CharField(max_length=120)
    minute = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["who", "minute"], name="one_tally_a_minute")]
        indexes = [models.Index(fields=["minute"])]

    def __str__(self) -> str:
        return f"{self.who}: {self.count}"
