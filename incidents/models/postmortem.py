"""A post-mortem: a map of its life. What people do with it is in incidents/postmortems.py; its page is a floor above,
because it shows what the machines did."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django_fsm import FSMField, transition

from incidents.models.incident import Incident
from portal.ledger.moves import StateModel
from portal.ledger.roles import EVERYBODY_AT_WORK, Person, Who


class PostMortemState(models.TextChoices):
    DRAFT = "draft", "Draft"
    IN_REVIEW = "in_review", "In review"
    PUBLISHED = "published", "Published"


S = PostMortemState


def publisher(postmortem: Any, person: Person) -> str:
    if reason := EVERYBODY_AT_WORK.why_not(postmortem, person):
        return reason
    if postmortem.pk and person is not None and postmortem.authors.filter(pk=person.pk).exists():
        return "you wrote in it, and nobody publishes their own words"
    return ""


def written(postmortem: Any) -> bool:
    """Nothing is written yet: write at least one section."""
    return postmortem.sections.exclude(body="").exists()


def answered(postmortem: Any) -> bool:
    """A comment is still open: answer it in the text, or mark it as resolved."""
    return not Comment.objects.filter(section__postmortem=postmortem, resolved_at=None).exists()


PUBLISHER = Who("Engineer / Project Manager, never somebody who wrote in it", publisher)


class PostMortem(StateModel):
    class Audience(models.TextChoices):
        INTERNAL = "internal", "Internal: all facts, with names"
        PUBLIC = "public", "Public: times and numbers only"

    incident = models.OneToOneField(Incident, models.PROTECT, related_name="postmortem")
    state = FSMField(default=S.DRAFT, choices=PostMortemState, protected=True, db_index=True)
    audience = models.CharField(max_length=10, choices=Audience, default=Audience.INTERNAL)
    authors = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    begun_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    begun_at = models.DateTimeField(default=timezone.now)
    submitted_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True, help_text="the last time; it stays while an amendment is written")
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-begun_at", "-pk"]
        verbose_name = "post-mortem"

    def __str__(self) -> str:
        return f"Post-mortem of incident {self.incident_id}"

    def get_absolute_url(self) -> str:
        return reverse("rollbacks:postmortem", args=[self.incident_id])

    @transition("state", S.DRAFT, S.IN_REVIEW, permission=EVERYBODY_AT_WORK, conditions=[written])
    def submit(self) -> None:
        self.submitted_at = timezone.now()

    @transition("state", S.IN_REVIEW, S.DRAFT, permission=EVERYBODY_AT_WORK)
    def request_changes(self) -> None:
        pass

    @transition("state", S.IN_REVIEW, S.PUBLISHED, permission=PUBLISHER, conditions=[answered])
    def publish(self) -> None:
        self.published_at = timezone.now()

    @transition("state", S.PUBLISHED, S.DRAFT, permission=EVERYBODY_AT_WORK)
    def amend(self) -> None:
        """The revision that was published stays readable as it is."""


class PostMortemSection(models.Model):
    """One part of the text. `version` counts the saves: who saves over a version that they have not seen is told so."""

    postmortem = models.ForeignKey(PostMortem, models.PROTECT, related_name="sections")
    key = models.SlugField(max_length=40)
    title = models.CharField(max_length=100)
    hint = models.CharField(max_length=300, blank=True)
    order = models.PositiveSmallIntegerField(default=0)
    body = models.TextField(blank=True)
    version = models.PositiveIntegerField(default=0)
    saved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    saved_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["order", "pk"]
        constraints = [models.UniqueConstraint(fields=["postmortem", "key"], name="one_section_per_key")]

    def __str__(self) -> str:
        return self.title


class SectionTemplate(models.Model):
    """What a new post-mortem consists of. Changed in the admin; post-mortems that were begun keep theirs."""

    key = models.SlugField(max_length=40, unique=True, help_text="the facts find their section by it")
    title = models.CharField(max_length=100)
    hint = models.CharField(max_length=300, blank=True, help_text="the question that the section answers")
    order = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return self.title


class Revision(models.Model):
    """The whole text as it was submitted or published. Append-only: the database refuses a change (migration 0004)."""

    class Kind(models.TextChoices):
        SUBMITTED = "submitted", "Submitted for review"
        PUBLISHED = "published", "Published"

    postmortem = models.ForeignKey(PostMortem, models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    sections = models.JSONField(help_text="[{key, title, body}]")
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["postmortem", "number"], name="revisions_are_numbered")]

    def __str__(self) -> str:
        return f"Revision {self.number}"


class Comment(models.Model):
    """What a reader has to say to a section; while one is open, nothing is published."""

    section = models.ForeignKey(PostMortemSection, models.PROTECT, related_name="comments")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    text = models.TextField()
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"Comment on {self.section}"


class Waiver(models.Model):
    """A Tech Lead's word that an incident needs no post-mortem."""

    incident = models.OneToOneField(Incident, models.PROTECT, related_name="waiver")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    reason = models.TextField()

    def __str__(self) -> str:
        return f"Waiver for incident {self.incident_id}"
