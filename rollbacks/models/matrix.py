"""The decision matrix: severity x scope says which rollback, in what downtime, approved by whom.

A version is never edited: changing the matrix writes a new version, and a rollback keeps the version and the row that
decided it. Source: the guide's section "Rollback Decision Matrix".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from incidents.models import Scope, Severity
from portal.ledger.roles import LADDER, Role

PROCEDURES = [
    ("full", "Full rollback"),
    ("code", "Code rollback"),
    ("dependencies", "Dependency rollback"),
    ("state", "State rollback"),
    ("partial", "Partial rollback"),
    ("config", "Config restore"),
]
# How much of a system a procedure may change. A smaller one than the matrix names needs no more approval.
REACH = {"config": 1, "partial": 2, "code": 3, "dependencies": 3, "state": 3, "full": 4}


class NoMatrix(Exception):
    """There is no decision matrix yet: run `python manage.py seed`, or add one in the admin."""

    def __str__(self) -> str:
        return str(self.__doc__)


class MatrixVersion(models.Model):
    number = models.PositiveIntegerField(unique=True, editable=False)
    note = models.CharField(max_length=200, help_text="what changed, and why")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+")
    made_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"Decision matrix, version {self.number}"

    @classmethod
    def current(cls) -> MatrixVersion:
        """The newest version. Raises NoMatrix."""
        version = cls.objects.order_by("-number").first()
        if version is None:
            raise NoMatrix
        return version


class DecisionRule(models.Model):
    version = models.ForeignKey(MatrixVersion, models.PROTECT, related_name="rules")
    severity = models.CharField(max_length=10, choices=Severity)
    scope = models.CharField(max_length=12, choices=Scope)
    procedure = models.CharField("rollback type", max_length=20, choices=PROCEDURES)
    budget_from = models.PositiveSmallIntegerField("downtime from", help_text="minutes")
    budget_to = models.PositiveSmallIntegerField("downtime to", validators=[MinValueValidator(1)], help_text="minutes")
    role = models.CharField("approval by", max_length=20, choices=[(role.value, role.value) for role in LADDER])
    quorum = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)], help_text="votes needed")
    immediate = models.BooleanField(
        default=False, help_text="approved at once when this role (or one above) asks; a Tech Lead reviews it in 24 h"
    )
    expires_minutes = models.PositiveSmallIntegerField(default=60, validators=[MinValueValidator(1)])

    class Meta:
        ordering = ["-version__number", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["version", "severity", "scope"], name="one_rule_per_pair"),
            models.CheckConstraint(condition=models.Q(budget_from__lte=models.F("budget_to")), name="budget_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.get_severity_display()} × {self.get_scope_display()}"

    def clean(self) -> None:
        if self.immediate and self.role == Role.ENGINEER:
            raise ValidationError({"immediate": "Immediate needs an On-Call Engineer or above."})

    @property
    def budget(self) -> str:
        return f"{self.budget_from}–{self.budget_to} min" if self.budget_from else f"under {self.budget_to} min"

    @property
    def approval(self) -> str:
        if self.immediate:
            return f"Immediate: {self.role} or above asks and it is approved; a Tech Lead reviews it within 24 h"
        return f"{self.quorum} × {self.role} or above" if self.quorum > 1 else f"one {self.role} or above"

    @property
    def strictness(self) -> tuple[int, int]:
        """Immediate asks for no second person, so it is the least strict; then the ladder, then the votes."""
        return (0, 0) if self.immediate else (1 + LADDER.index(Role(self.role)), self.quorum)


@dataclass(frozen=True)
class Decision:
    """The matrix's answer for one request."""

    rule: DecisionRule  # the row whose approval and budget hold
    recommended: str  # the procedure that the matrix names for this pair; "" off the matrix
    off_matrix: bool
    why: str


def decide(rules: Sequence[DecisionRule], severity: str, scope: str, procedure: str) -> Decision:
    """The row that holds for a request.

    Off the matrix, and for a procedure that reaches further than the one its row names, the strictest of the rows
    concerned holds: nobody gets a lighter approval by calling a thing small. Raises NoMatrix when there are no rows.
    """
    own = next((rule for rule in rules if (rule.severity, rule.scope) == (severity, scope)), None)
    names = dict(PROCEDURES)
    if own is None:
        near = [rule for rule in rules if severity == rule.severity or scope == rule.scope] or list(rules)
    else:
        near = [own]
    if not near:
        raise NoMatrix
    reach = max(REACH[rule.procedure] for rule in near)
    wider = [rule for rule in rules if rule.procedure == procedure and REACH[procedure] > reach]
    rule = max([*near, *wider], key=lambda each: each.strictness)
    pair = f"{Severity(severity).label} × {Scope(scope).label}"
    if rule in wider:
        why = f"{names[procedure]} reaches further than {pair} allows, so the row {rule} holds: {rule.approval}."
    elif own is None:
        why = f"{pair} is off the matrix, so the stricter row holds, {rule}: {rule.approval}."
    else:
        why = f"The row {rule} holds: {names[rule.procedure]}, {rule.budget}, {rule.approval}."
    if own is not None and own.procedure != procedure:
        why += f" The matrix names {names[own.procedure]} here; {names[procedure]} was asked for."
    return Decision(rule, own.procedure if own else "", own is None, why)
