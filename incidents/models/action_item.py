"""Something that has to be done afterwards: a map of its life. The moves are in incidents/action_items.py."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django_fsm import FSMField, transition

from incidents.models.incident import Incident
from portal.ledger.moves import StateModel
from portal.ledger.roles import EVERYBODY_AT_WORK


class ActionItemState(models.TextChoices):
    OPEN = "open", "Open"
    IN_PROGRESS = "in_progress", "In progress"
    DONE = "done", "Done"
    DROPPED = "dropped", "Dropped"


S = ActionItemState
TO_DO = [S.OPEN, S.IN_PROGRESS]


class ActionItem(StateModel):
    class Term(models.TextChoices):
        IMMEDIATE = "immediate", "Immediate (< 1 hour)"
        SHORT = "short", "Short-term (< 24 hours)"
        LONG = "long", "Long-term (< 1 week)"

    title = models.CharField(max_length=200)
    state = FSMField(default=S.OPEN, choices=ActionItemState, protected=True)
    term = models.CharField(max_length=10, choices=Term, default=Term.LONG)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    due_at = models.DateTimeField(null=True, blank=True)
    incident = models.ForeignKey(Incident, models.PROTECT, null=True, related_name="action_items")
    subject = models.CharField(max_length=200, blank=True, help_text="what it follows from, e.g. a rollback")
    url = models.CharField(max_length=200, blank=True)
    added_as = models.CharField(max_length=100, null=True, unique=True, help_text="what the portal added, it adds once")  # noqa: DJ001 — many have none
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    note = models.TextField(blank=True, help_text="what was done, or why it was dropped")

    class Meta:
        ordering = ["due_at", "pk"]
        indexes = [
            models.Index(fields=["owner", "due_at"], condition=Q(state__in=TO_DO), name="items_to_do"),
            models.Index(fields=["url"]),
        ]

    def __str__(self) -> str:
        return f"Action item {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("incidents:action_item", args=[self.pk])

    @property
    def is_to_do(self) -> bool:
        return self.state in TO_DO

    @property
    def is_overdue(self) -> bool:
        return self.is_to_do and self.due_at is not None and timezone.now() > self.due_at

    @property
    def lacks(self) -> str:
        """ "" or what it needs before anybody can rely on it."""
        missing = [name for name, value in (("owner", self.owner_id), ("due date", self.due_at)) if not value]
        return f"no {' and no '.join(missing)}" if missing else ""

    @transition("state", S.OPEN, S.IN_PROGRESS, permission=EVERYBODY_AT_WORK)
    def start(self) -> None:
        pass

    @transition("state", [S.OPEN, S.IN_PROGRESS], S.DONE, permission=EVERYBODY_AT_WORK)
    def finish(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", [S.OPEN, S.IN_PROGRESS], S.DROPPED, permission=EVERYBODY_AT_WORK)
    def drop(self) -> None:
        self.ended_at = timezone.now()
