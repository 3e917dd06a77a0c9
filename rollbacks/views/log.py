from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import islice

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import cached_property
from django.views.decorators.http import require_GET, require_POST

from portal.ledger.paging import ByKeys
from rollbacks import actions
from rollbacks.forms import ExplainForm, LogFilter
from rollbacks.log_format import FORMATS
from rollbacks.models import ImportedLogEntry, Rollback, RollbackLogEntry

PER_PAGE = 25
SEARCHED = 5_000  # entries: a word inside a text is found only by reading the text
MANY = 5_000  # entries: so many are found faster by going through the log
PIECE = 200  # entries that an export writes at a time


@require_GET
def log(request: HttpRequest) -> HttpResponseBase:
    form = LogFilter(request.GET)
    wanted = Wanted(form)
    if (format := request.GET.get("format", "")) in FORMATS:
        kind, write = FORMATS[format]
        return StreamingHttpResponse(by_turns(write(in_pieces(wanted.joined.filter(wanted.match)))), content_type=kind)
    page = LogPages(wanted).get_page(request.GET.get("page"))
    words = request.GET.copy()
    words.pop("page", None)
    context = {"form": form, "page": page, "query": words.urlencode(), "searched_since": wanted.searched_since}
    context["has_imported"] = ImportedLogEntry.objects.exists()
    return render(request, "rollbacks/log.html", context)


# --- the filter -----------------------------------------------------------------------------------------------------


class Wanted:
    """The entries that a filter asks for. One that is not understood asks for all, and says so beside the field.

    They are asked for in two ways: `joined` begins with the rollbacks, and is fast where few are found; `listed` goes
    through the log by its time, and is fast for the newest of many.
    """

    def __init__(self, form: LogFilter) -> None:
        said = form.cleaned_data if form.is_valid() else {}
        self.words = said.get("q", "")
        self.of_rollback = {"system": said["system"]} if said.get("system") else {}
        self.of_entry = {name: said[name] for name in ("severity", "outcome") if said.get(name)}
        if said.get("until"):
            self.of_entry["at__lt"] = datetime.combine(said["until"] + timedelta(days=1), time(), UTC)

    @property
    def joined(self) -> QuerySet[RollbackLogEntry]:
        of_rollback = {f"rollback__{name}": value for name, value in self.of_rollback.items()}
        return RollbackLogEntry.objects.filter(**self.of_entry, **of_rollback)

    @cached_property
    def up_to_many(self) -> int:
        return self.joined.order_by()[: MANY + 1].count()

    @cached_property
    def listed(self) -> QuerySet[RollbackLogEntry]:
        if not self.of_rollback or self.up_to_many <= MANY:
            return self.joined
        of_rollback = Rollback.objects.filter(pk=OuterRef("rollback"), **self.of_rollback)
        return RollbackLogEntry.objects.filter(Exists(of_rollback), **self.of_entry)

    @property
    def match(self) -> Q:
        match = Q()
        if self.words:
            for part in ("trigger", "root_cause", "prevention", "rollback__system__name", "rollback__target"):
                match |= Q(**{f"{part}__icontains": self.words})
        return match

    @cached_property
    def searched_since(self) -> datetime | None:
        """Older entries are not read for the words, so that it takes no longer as the years go by. None: all are."""
        if not self.words or (self.of_rollback and self.up_to_many <= MANY):
            return None
        entries = RollbackLogEntry.objects.filter(**self.of_entry)
        return entries.values_list("at", flat=True)[SEARCHED : SEARCHED + 1].first()

    @property
    def found(self) -> QuerySet[RollbackLogEntry]:
        entries = self.listed.filter(self.match)
        return entries.filter(at__gt=self.searched_since) if self.searched_since else entries


class LogPages(ByKeys):
    def __init__(self, wanted: Wanted) -> None:
        keys = wanted.found.values_list("pk", flat=True)
        super().__init__(lines(RollbackLogEntry.objects.all()), PER_PAGE, keys=list(keys) if wanted.words else keys)
        self.wanted = wanted

    @cached_property
    def count(self) -> int:
        if self.wanted.words:
            return len(self.object_list)
        return self.wanted.up_to_many if self.wanted.up_to_many <= MANY else self.wanted.joined.count()


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
