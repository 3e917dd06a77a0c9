"""The audit in the admin: everything can be read by those who may, and nothing can be changed by anybody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from portal.ledger.models import Ledger, record
from portal.ledger.paging import ByKeys

SEARCHED = 3_000  # rows: a word inside a text is found only by reading the text


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable when it runs
    """For what only actions may write. Not even a superuser gets a button."""

    show_full_result_count = False
    list_per_page = 20
    ordering = ["-pk"]  # the newest first, by an index
    search_help_text = f"Searches the newest {SEARCHED:,} of the rows that the filters leave."

    def get_paginator(self, request: HttpRequest, queryset: QuerySet[Any], per_page: int, **options: Any) -> ByKeys:  # type: ignore[override]
        """What was filtered for its keys is not filtered again for its rows; what was searched is counted at once."""
        keys = queryset.values_list("pk", flat=True)
        rows = self.get_queryset(request).order_by(*queryset.query.order_by)
        if isinstance(self.list_select_related, list):
            rows = rows.select_related(*self.list_select_related)
        return ByKeys(rows, per_page, keys=list(keys) if request.GET.get(SEARCH_VAR) else keys, **options)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Bounded, so that it takes no longer as the years go by; says so when there is more."""
        newest = queryset.order_by(*self.ordering).values("pk")
        if search_term and newest[SEARCHED : SEARCHED + 1].exists():
            queryset = queryset.filter(pk__in=newest[:SEARCHED])
            said = f"Only the newest {SEARCHED:,} rows were searched. A filter beside the list leads to older ones."
            self.message_user(request, said, messages.WARNING)
        return super().get_search_results(request, queryset, search_term)

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


class PeriodFilter(admin.SimpleListFilter):
    """Years, and the months of the chosen one. It looks at both ends of an index, where Django's date_hierarchy reads
    every row; so the admin's `ordering` begins with the same column."""

    title = parameter_name = "period"
    column = "at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        times = model_admin.get_queryset(request).order_by(self.column).values_list(self.column, flat=True)
        first, last = times.first(), times.last()
        if first is None:
            return []
        chosen = (self.value() or "")[:4]
        found = []
        for year in range(last.year, first.year - 1, -1):
            found.append((str(year), str(year)))
            if chosen == str(year):
                found += [(f"{year}-{month:02}", f"{datetime(year, month, 1):%B %Y}") for month in range(12, 0, -1)]
        return found

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        year, _, month = (self.value() or "").partition("-")
        if not (year + month).isdecimal() or not (1 <= int(year) <= 9998 and 1 <= int(month or 1) <= 12):
            return queryset
        begin = datetime(int(year), int(month or 1), 1, tzinfo=UTC)
        years, months = divmod(begin.month, 12) if month else (1, 0)
        end = datetime(begin.year + years, months + 1, 1, tzinfo=UTC)
        return queryset.filter(**{f"{self.column}__gte": begin, f"{self.column}__lt": end})


class ValueFilter(admin.SimpleListFilter):
    """The values that a column has, found by hopping over its index from one to the next: DISTINCT reads every row."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        name = connection.ops.quote_name
        column, table = name(str(self.parameter_name)), name(model_admin.model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE hop(value) AS (SELECT MIN({column}) FROM {table} UNION ALL"  # noqa: S608 — our names
                f" SELECT (SELECT MIN({column}) FROM {table} WHERE {column} > value) FROM hop WHERE value IS NOT NULL)"
                " SELECT value FROM hop WHERE value IS NOT NULL"
            )
            return [(value, value) for (value,) in cursor.fetchall()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class KindFilter(ValueFilter):
    title = parameter_name = "kind"


class MoveFilter(ValueFilter):
    title = parameter_name = "move"


@admin.register(Ledger)
class LedgerAdmin(ReadOnlyAdmin):
    list_display = ["number", "at", "actor_name", "label", "move", "change", "note"]
    list_filter = [PeriodFilter, KindFilter, MoveFilter]
    search_fields = ["label", "note", "actor_name"]
    ordering = ["-at", "-pk"]

    @admin.display(description="state")
    def change(self, row: Ledger) -> str:
        return f"{row.source} → {row.target}".strip(" →") if row.target else ""
