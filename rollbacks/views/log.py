from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import islice

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import cached_property
from django.views.decorators.http import require_GET, require_POST

from portal.ledger.paging import ByKeys
from rollbacks import actions
from rollbacks.forms import ExplainForm, LogFilter
from rollbacks.log_format import FORMATS
from rollbacks.models import ImportedLogEntry, RollbackLogEntry

PER_PAGE = 25
SEARCHED = 5_000  # entries: a word inside a text is found only by reading the text
PIECE = 200  # entries that an export writes at a time


@require_GET
def log(request: HttpRequest) -> HttpResponseBase:
    form = LogFilter(request.GET)
    wanted = Wanted(form)
    if (format := request.GET.get("format", "")) in FORMATS:
        kind, write = FORMATS[format]
        return StreamingHttpResponse(by_turns(write(in_pieces(wanted.entries.filter(wanted.match)))), content_type=kind)
    page = LogPages(wanted).get_page(request.GET.get("page"))
    words = request.GET.copy()
    words.pop("page", None)
    context = {"form": form, "page": page, "query": words.urlencode(), "searched_since": wanted.searched_since}
    context["has_imported"] = ImportedLogEntry.objects.exists()
    return render(request, "rollbacks/log.html", context)


# --- the filter -----------------------------------------------------------------------------------------------------


class Wanted:
    """The entries that a filter asks for. One that is not understood asks for all, and says so beside the field."""

    def __init__(self, form: LogFilter) -> None:
        said = form.cleaned_data if form.is_valid() else {}
        self.words = said.get("q", "")
        self.entries = RollbackLogEntry.objects.filter(
            **{name: said[name] for name in ("system", "severity", "outcome") if said.get(name)}
        )
        if said.get("until"):
            day_after = datetime.combine(said["until"] + timedelta(days=1), time(), UTC)
            self.entries = self.entries.filter(at__lt=day_after)

    @property
    def match(self) -> Q:
        match = Q()
        if self.words:
            for part in ("trigger", "root_cause", "prevention", "system__name", "rollback__target"):
                match |= Q(**{f"{part}__icontains": self.words})
        return match

    @cached_property
    def searched_since(self) -> datetime | None:
        """Older entries are not read for the words, so that it takes no longer as the years go by. None: all are."""
        return self.entries.values_list("at", flat=True)[SEARCHED : SEARCHED + 1].first() if self.words else None

    @property
    def found(self) -> QuerySet[RollbackLogEntry]:
        entries = self.entries.filter(self.match)
        return entries.filter(at__gt=self.searched_since) if self.searched_since else entries


class LogPages(ByKeys):
    def __init__(self, wanted: Wanted) -> None:
        keys = wanted.found.values_list("pk", flat=True)
        super().__init__(lines(RollbackLogEntry.objects.all()), PER_PAGE, keys=list(keys) if wanted.words else keys)


def lines(entries: QuerySet[RollbackLogEntry]) -> QuerySet[RollbackLogEntry]:
    """With all that a line shows; not with what the worker last saw of the system, which is long."""
    unread = ("rollback__system__facts", "rollback__system__manifest_text")
    return entries.select_related("rollback__system", "rollback__requested_by").defer(*unread)


# --- the export -----------------------------------------------------------------------------------------------------


def in_pieces(entries: QuerySet[RollbackLogEntry]) -> Iterator[RollbackLogEntry]:
    """All of them, a few hundred at a time: each piece is a question of its own, so that no cursor is kept open."""
    keys = list(entries.values_list("pk", flat=True))
    for begin in range(0, len(keys), PIECE):
        yield from lines(RollbackLogEntry.objects.filter(pk__in=keys[begin : begin + PIECE]))


async def by_turns(text: Iterator[str]) -> AsyncIterator[str]:
    """Written piece by piece: between two of them the other pages get their turn."""
    while piece := await sync_to_async("".join)(islice(text, PIECE)):
        yield piece


@require_GET
def imported(request: HttpRequest) -> HttpResponse:
    """What was written by hand before the portal."""
    entries = ImportedLogEntry.objects.select_related("system", "imported_by").defer("system__facts")
    page = Paginator(entries, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "rollbacks/imported.html", {"page": page})


@require_POST
def explain(request: HttpRequest, pk: int) -> HttpResponse:
    """Root cause and prevention, once they are known."""
    entry = get_object_or_404(RollbackLogEntry.objects.select_related("rollback"), pk=pk)
    form = ExplainForm(request.POST)
    if form.is_valid():
        actions.explain(pk, by=request.user, **form.cleaned_data)  # type: ignore[arg-type]
        messages.success(request, "The log entry was explained.")
    else:
        messages.error(request, f"The log entry was not changed: {form.errors.as_text()}")
    return redirect(entry.rollback)
