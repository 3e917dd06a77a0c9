"""A rollback: a map of its life (DESIGN 2). People's moves are in rollbacks/actions.py, the machine's in runner.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django_fsm import FSMField, transition

from incidents.models import Incident, Scope, Severity
from portal.ledger.moves import StateModel
from portal.ledger.roles import MACHINE, Person, Role, Who, at_least, holds, titles
from rollbacks.models.matrix import PROCEDURES, DecisionRule
from rollbacks.models.restore_point import RestorePoint
from rollbacks.models.system import System


class RollbackState(models.TextChoices):
    PLANNING = "planning", "Planning"
    AWAITING_APPROVAL = "awaiting_approval", "Awaiting approval"
    APPROVED = "approved", "Approved"
    RUNNING = "running", "Running"
    MONITORING = "monitoring", "Monitoring"
    COMPLETED = "completed", "Completed"
    REVERTING = "reverting", "Reverting"
    REVERTED = "reverted", "Reverted"
    HELD = "held", "Held"
    REFUSED = "refused", "Refused"
    REJECTED = "rejected", "Rejected"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"


S = RollbackState
ACTIVE = [S.AWAITING_APPROVAL, S.APPROVED, S.RUNNING, S.MONITORING, S.REVERTING, S.HELD]
OWN_RULE_AFTER = timedelta(hours=24)  # others have seen it by then
ENDED = [S.COMPLETED, S.REVERTED, S.REFUSED, S.REJECTED, S.EXPIRED, S.CANCELLED]


def approver(rollback: Rollback, person: Person) -> str:
    if person is None:
        return "a person has to do this"
    if person.pk == rollback.requested_by_id and not rollback.is_immediate:
        return "you asked for it, and nobody approves their own request"
    if not holds(person, rollback.rule.role):
        return f"this needs the role {rollback.rule.role} or above, and you are {titles(person)}"
    return ""


def breaker(rollback: Rollback, person: Person) -> str:
    if person is None or not holds(person, Role.ON_CALL):
        return f"this needs the role {Role.ON_CALL} or above, and you are {titles(person)}"
    return ""


def owner(rollback: Rollback, person: Person) -> str:
    if person is not None and person.pk == rollback.requested_by_id:
        return ""
    return "" if holds(person, rollback.rule.role) else "only the requester or an approver may do this"


def finisher(rollback: Rollback, person: Person) -> str:
    return "" if person is None else at_least(Role.ON_CALL).why_not(rollback, person)


def voted(rollback: Any) -> bool:
    """The votes that its rule asks for are not there yet."""
    plan = rollback.plan_now
    return plan is not None and plan.votes_for() >= rollback.rule.quorum


APPROVER = Who("approver (the rule's role or above, never the requester unless Immediate)", approver)
OWNER = Who("requester or approver", owner)
BREAKER = Who("On-Call Engineer", breaker)
FINISHER = Who("machine or On-Call Engineer", finisher)


class Rollback(StateModel):
    system = models.ForeignKey(System, models.PROTECT, related_name="rollbacks")
    incident = models.ForeignKey(Incident, models.PROTECT, null=True, related_name="rollbacks")
    state = FSMField(default=S.PLANNING, choices=RollbackState, protected=True, db_index=True)
    procedure = models.CharField(max_length=20, choices=PROCEDURES)
    severity = models.CharField(max_length=10, choices=Severity)
    scope = models.CharField(max_length=12, choices=Scope)
    reason = models.TextField()
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    requested_at = models.DateTimeField(default=timezone.now, db_index=True)

    target = models.CharField(max_length=100, help_text="the restore point's tag or the commit that was asked for")
    target_point = models.ForeignKey(RestorePoint, models.PROTECT, null=True, related_name="+")
    with_configuration = models.BooleanField(default=False)
    component = models.CharField(max_length=80, blank=True, help_text="partial: what is restored")
    into = models.CharField(
        max_length=300, blank=True, help_text="full: an empty directory, instead of the system's own"
    )
    set_logs_aside = models.BooleanField(default=False)
    reset_metrics = models.BooleanField(default=False)

    rule = models.ForeignKey(DecisionRule, models.PROTECT, related_name="+")
    decision = models.TextField(help_text="the matrix's answer, in words")
    off_matrix = models.BooleanField(default=False)
    expires_at = models.DateTimeField(null=True)
    approved_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    watch_until = models.DateTimeField(null=True)
    trouble = models.TextField(blank=True, help_text="why it was refused, failed or held")
    by_hand = models.JSONField(default=list, help_text="held: the commands to type")

    class Meta:
        ordering = ["-requested_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["system"], condition=Q(state__in=ACTIVE), name="one_active_rollback"),
        ]
        indexes = [
            models.Index(fields=["system", "-requested_at"]),
            models.Index(fields=["state", "-requested_at"]),
            models.Index(fields=["system", "state"]),
            models.Index(fields=["severity", "-requested_at"]),
        ]

    def __str__(self) -> str:
        return f"Rollback {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("rollbacks:rollback", args=[self.pk])

    @property
    def plan_now(self) -> Plan | None:
        """The plan that votes are about: the newest."""
        return self.plans.order_by("-number").first()

    @property
    def is_immediate(self) -> bool:
        """What its rule says, but not to whoever wrote that rule within the day: it would be their own approval."""
        version = self.rule.version
        is_own = version.made_by_id is not None and version.made_by_id == self.requested_by_id
        return self.rule.immediate and not (is_own and self.requested_at - version.made_at < OWN_RULE_AFTER)

    @property
    def is_over(self) -> bool:
        return self.state in ENDED

    @transition("state", S.PLANNING, S.AWAITING_APPROVAL, permission=MACHINE)
    def plan(self) -> None:
        self.expires_at = timezone.now() + timedelta(minutes=self.rule.expires_minutes)

    @transition("state", [S.PLANNING, S.APPROVED], S.REFUSED, permission=MACHINE)
    def refuse(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", S.AWAITING_APPROVAL, S.APPROVED, permission=APPROVER, conditions=[voted])
    def approve(self) -> None:
        self.approved_at = timezone.now()

    @transition("state", S.AWAITING_APPROVAL, S.REJECTED, permission=APPROVER)
    def reject(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", S.AWAITING_APPROVAL, S.APPROVED, permission=BREAKER)
    def override(self) -> None:
        self.approved_at = timezone.now()

    @transition("state", [S.AWAITING_APPROVAL, S.APPROVED], S.EXPIRED, permission=MACHINE)
    def expire(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", [S.PLANNING, S.AWAITING_APPROVAL, S.APPROVED], S.CANCELLED, permission=OWNER)
    def cancel(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", S.APPROVED, S.AWAITING_APPROVAL, permission=MACHINE)
    def void(self) -> None:
        """What was approved is no longer what would happen: a new plan, and new votes (DESIGN 2, `start`)."""
        self.approved_at = None
        self.expires_at = timezone.now() + timedelta(minutes=self.rule.expires_minutes)

    @transition("state", S.APPROVED, S.RUNNING, permission=MACHINE)
    def start(self) -> None:
        self.started_at = timezone.now()

    @transition("state", S.RUNNING, S.MONITORING, permission=MACHINE)
    def watch(self) -> None:
        pass

    @transition("state", S.MONITORING, S.COMPLETED, permission=FINISHER)
    def complete(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", [S.RUNNING, S.MONITORING], S.REVERTING, permission=MACHINE)
    def fail(self) -> None:
        pass

    @transition("state", [S.RUNNING, S.MONITORING], S.REVERTING, permission=BREAKER)
    def abort(self) -> None:
        pass

    @transition("state", S.REVERTING, S.REVERTED, permission=MACHINE)
    def restore(self) -> None:
        self.ended_at = timezone.now()

    @transition("state", [S.RUNNING, S.REVERTING], S.HELD, permission=MACHINE)
    def hold(self) -> None:
        pass

    @transition("state", S.HELD, S.RUNNING, permission=BREAKER)
    def resume(self) -> None:
        self.by_hand = []

    @transition("state", S.HELD, S.REVERTING, permission=BREAKER)
    def revert(self) -> None:
        self.by_hand = []

    @transition("state", S.HELD, S.COMPLETED, permission=BREAKER)
    def settle(self) -> None:
        self.ended_at = timezone.now()


class Plan(models.Model):
    """What a rollback would do, as it was shown to the people who voted. Never changed: a new look makes a new plan."""

    rollback = models.ForeignKey(Rollback, models.PROTECT, related_name="plans")
    number = models.PositiveSmallIntegerField()
    digest = models.CharField(max_length=64)
    body = models.JSONField()
    moved = models.JSONField(default=list, help_text="what had changed since the plan before it, in words")
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["rollback", "number"], name="plans_are_numbered")]

    def __str__(self) -> str:
        return f"Plan {self.number} of rollback {self.rollback_id}"

    @property
    def target_commit(self) -> str:
        """The commit that the target was when it was planned; "" when it names none."""
        commit: str = self.body.get("shown", {}).get("target", {}).get("sha", "")
        return commit

    def votes_for(self) -> int:
        return self.approvals.filter(vote=Approval.Vote.APPROVE).count()


class Approval(models.Model):
    """One person's vote on one plan. Append-only: the database refuses a change (migration 0002)."""

    class Vote(models.TextChoices):
        APPROVE = "approve", "Approved"
        REJECT = "reject", "Rejected"

    plan = models.ForeignKey(Plan, models.PROTECT, related_name="approvals")
    voter = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    vote = models.CharField(max_length=10, choices=Vote)
    roles = models.CharField(max_length=100, help_text="what the voter was at that moment")
    reason = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["at", "pk"]
        constraints = [models.UniqueConstraint(fields=["plan", "voter"], name="one_vote_per_person_and_plan")]

    def __str__(self) -> str:
        return f"{self.get_vote_display()} by {self.voter}"
