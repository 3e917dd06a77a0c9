"""The audit in the admin: everything can be read by those who may, and nothing can be changed by anybody."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest

from portal.ledger.models import Ledger, record


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable when it runs
    """For what only actions may write. Not even a superuser gets a button."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class RecordedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For what people may edit: each change leaves a ledger row, with the fields that it touched."""

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        self.record(request, obj, "change" if change else "add", fields=form.changed_data)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self.record(request, obj, "delete")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for obj in queryset:
            self.record(request, obj, "delete")
        super().delete_queryset(request, queryset)

    def record(self, request: HttpRequest, obj: Model, move: str, **details: Any) -> None:
        assert isinstance(request.user, User)
        record(obj, move, by=request.user, **details)


@admin.register(Ledger)
class LedgerAdmin(ReadOnlyAdmin):
    list_display = ["number", "at", "actor_name", "label", "move", "change", "note"]
    list_filter = ["kind", "move", "at"]
    search_fields = ["label", "note", "actor_name"]
    date_hierarchy = "at"

    @admin.display(description="state")
    def change(self, row: Ledger) -> str:
        return f"{row.source} → {row.target}".strip(" →") if row.target else ""
