"""Pages of a long list, which cost the same however far down they are and however long the list has become."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet


class ByKeys(Paginator[Any]):
    """Finds the keys of a page first, then their rows: what is skipped on the way is read from an index alone."""

    def __init__(
        self, rows: QuerySet[Any], per_page: int, *, keys: QuerySet[Any] | list[int] | None = None, **options: Any
    ) -> None:
        """`keys`: of those rows that are wanted, in their order; None: of all."""
        super().__init__(rows.values_list("pk", flat=True) if keys is None else keys, per_page, **options)
        self.rows = rows

    def page(self, number: int | str) -> Page[Any]:
        page = super().page(number)
        page.object_list = self.rows.filter(pk__in=list(page.object_list))
        return page
