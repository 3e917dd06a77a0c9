"""The audit: everything that happened, read-only; the matrix and the systems, editable by those who may."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Max, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from portal.ledger.admin import PeriodFilter, ReadOnlyAdmin
from portal.ledger.models import record, take_turn
from portal.ledger.roles import Role, holds
from rollbacks import actions
from rollbacks.models import (
    ACTIVE,
    Approval,
    ChecklistTick,
    DecisionRule,
    ImportedLogEntry,
    MatrixVersion,
    Plan,
    RestorePoint,
    Rollback,
    RollbackLogEntry,
    Step,
    System,
)
from rollbacks.procedures.known import PROCEDURES
from rollbacks.tools import manifest


class ManifestAdminForm(forms.ModelForm[System]):
    manifest_text = forms.CharField(
        label="Manifest",
        strip=False,  # problems are told with their lines
        widget=forms.Textarea(attrs={"rows": 28, "cols": 100, "spellcheck": "false"}),
        help_text="system.toml",
    )

    class Meta:
        model = System
        fields = ["manifest_text", "retired"]

    def clean_manifest_text(self) -> str:
        text: str = self.cleaned_data["manifest_text"].replace("\r\n", "\n")  # as browsers send it
        try:
            parsed = manifest.parse(text)
        except manifest.ManifestError as error:
            raise forms.ValidationError(error.problems) from error
        if self.instance.pk and parsed.name != self.instance.name:
            raise forms.ValidationError(f"The name stays {self.instance.name}: add another system for {parsed.name}.")
        if not self.instance.pk and System.objects.filter(name=parsed.name).exists():
            raise forms.ValidationError(f"There is a system {parsed.name} already: change that one.")
        return text

    def clean_retired(self) -> bool:
        retired: bool = self.cleaned_data["retired"]
        active = self.instance.rollbacks.filter(state__in=ACTIVE).first() if self.instance.pk and retired else None
        if active is not None:
            raise forms.ValidationError(
                f"{active} is {active.get_state_display().lower()}, and nobody would watch it any more. Bring it to "
                "its end first."
            )
        return retired


@admin.register(System)
class SystemAdmin(admin.ModelAdmin[System]):
    form = ManifestAdminForm
    list_display = ["name", "environment", "host", "health", "health_since", "retired"]
    list_filter = ["environment", "host", "health", "retired"]
    list_per_page = 30
    search_fields = ["name"]

    def get_fields(self, request: HttpRequest, obj: System | None = None) -> list[Any]:
        """Who may not change it reads it without the passwords in it."""
        return ["manifest_text" if self.has_change_permission(request, obj) else "shown_manifest", "retired"]

    @admin.display(description="manifest")
    def shown_manifest(self, obj: System) -> str:
        return manifest.shown(obj.manifest_text)

    def save_model(self, request: HttpRequest, obj: System, form: Any, change: bool) -> None:
        """Through the same action as every other door; only `retired` is the admin's own."""
        system, _ = actions.add_system(by=request.user, text=form.cleaned_data["manifest_text"])  # type: ignore[arg-type]
        obj.pk, obj.name = system.pk, system.name
        if form.cleaned_data["retired"] != system.retired:
            System.objects.filter(pk=system.pk).update(retired=form.cleaned_data["retired"])
            record(system, "retire" if form.cleaned_data["retired"] else "bring back", by=request.user)  # type: ignore[arg-type]

    def has_delete_permission(self, request: HttpRequest, obj: System | None = None) -> bool:
        return False


class RowForm(forms.ModelForm[DecisionRule]):
    def has_changed(self) -> bool:
        """A row that was left as it is is a row of the new version too: Django would leave it out."""
        return True


class Prefilled(BaseInlineFormSet[DecisionRule, MatrixVersion, Any]):
    """A new version begins with the rows of the one in force."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        instance = kwargs.get("instance")
        if instance is None or instance.pk is None:
            names = [field.name for field in DecisionRule._meta.fields if field.name not in ("id", "version")]
            newest = MatrixVersion.objects.first()
            kwargs["initial"] = list(newest.rules.values(*names)) if newest else []
        super().__init__(*args, **kwargs)

    def clean(self) -> None:
        super().clean()
        if not self.forms:
            raise forms.ValidationError("A matrix without rows answers nobody: keep at least one.")


class RuleInline(admin.TabularInline[DecisionRule, MatrixVersion]):
    model = DecisionRule
    form = RowForm
    formset = Prefilled

    def get_extra(self, request: HttpRequest, obj: MatrixVersion | None = None, **kwargs: Any) -> int:
        newest = MatrixVersion.objects.first()
        return 0 if obj else (newest.rules.count() if newest else 4)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest, obj: MatrixVersion | None = None) -> bool:
        return obj is None and bool(super().has_add_permission(request, obj))


@admin.register(MatrixVersion)
class MatrixVersionAdmin(admin.ModelAdmin[MatrixVersion]):
    """A version is written once: to change the matrix, add one (it begins with the rows in force)."""

    list_display = ["number", "note", "made_by", "made_at"]
    inlines = [RuleInline]

    def save_model(self, request: HttpRequest, obj: MatrixVersion, form: Any, change: bool) -> None:
        take_turn()  # two people who save at once get two numbers
        obj.number = (MatrixVersion.objects.aggregate(newest=Max("number"))["newest"] or 0) + 1
        obj.made_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        rows = [str(rule) for rule in form.instance.rules.all()]
        record(form.instance, "add", by=request.user, note=form.instance.note, rules=rows)  # type: ignore[arg-type]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The matrix says who approves: only those who approve most may say that."""
        return holds(request.user, Role.TECH_LEAD) and bool(super().has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: MatrixVersion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: MatrixVersion | None = None) -> bool:
        return False


class SystemFilter(admin.SimpleListFilter):
    """By name, without what the worker last saw of each."""

    title = parameter_name = "system"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in System.objects.values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(system__name=self.value()) if self.value() else queryset


class AskedFilter(PeriodFilter):
    column = "requested_at"


@admin.register(Rollback)
class RollbackAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "system", "procedure", "state", "severity", "scope", "requested_by", "requested_at"]
    list_filter = [AskedFilter, "state", "procedure", "severity", "scope", SystemFilter]
    list_select_related = ["system", "requested_by"]
    search_fields = ["reason", "target", "system__name", "requested_by__username"]
    ordering = ["-requested_at", "-pk"]


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    list_display = ["rollback", "number", "digest", "made_at"]
    list_select_related = ["rollback"]
    search_fields = ["digest", "rollback__system__name"]


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ["plan", "voter", "roles", "vote", "reason", "at"]
    list_filter = ["vote", "at"]
    list_select_related = ["plan", "voter"]
    search_fields = ["voter__username", "reason", "plan__digest"]


@admin.register(ChecklistTick)
class ChecklistTickAdmin(ReadOnlyAdmin):
    list_display = ["rollback", "item", "withdrawn", "by", "note", "at"]
    list_filter = ["withdrawn", "item", "at"]
    list_select_related = ["rollback", "by"]
    search_fields = ["note", "item", "by__username", "rollback__system__name"]


class StepNameFilter(admin.SimpleListFilter):
    title = "name"
    parameter_name = "name__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        titles = {step.name: step.title for procedure in PROCEDURES.values() for step in procedure.steps}
        return sorted(titles.items(), key=itemgetter(1))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(name=self.value()) if self.value() else queryset


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "run", "state", "token", "started_at", "ended_at", "trouble"]
    list_filter = ["state", StepNameFilter]
    list_select_related = ["run"]
    search_fields = ["title", "trouble", "run__system__name"]


@admin.register(RestorePoint)
class RestorePointAdmin(ReadOnlyAdmin):
    list_display = ["tag", "system", "kind", "state", "made_at", "size", "verified_at", "pinned", "bad"]
    list_filter = ["state", "kind", "pinned", "bad", SystemFilter]
    list_select_related = ["system"]
    search_fields = ["tag", "commit", "reason", "system__name"]


@admin.register(RollbackLogEntry)
class RollbackLogEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "__str__", "outcome", "rollback_seconds", "downtime_seconds", "outage_seconds"]
    list_filter = [PeriodFilter, "outcome"]
    list_select_related = ["rollback", "rollback__system"]
    search_fields = ["trigger", "root_cause", "prevention", "rollback__system__name"]
    ordering = ["-at", "-pk"]


@admin.register(ImportedLogEntry)
class ImportedLogEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "title", "system", "severity", "downtime", "imported_by", "imported_at"]
    list_select_related = ["system", "imported_by"]
    search_fields = ["title", "trigger", "root_cause", "prevention"]
