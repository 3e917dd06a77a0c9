from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from rollbacks import actions
from rollbacks.forms import ExplainForm, LogFilter
from rollbacks.log_format import FORMATS
from rollbacks.models import RollbackLogEntry

PER_PAGE = 50


@require_GET
def log(request: HttpRequest) -> HttpResponse:
    form = LogFilter(request.GET)
    entries = filtered(form)
    if (wanted := request.GET.get("format", "")) in FORMATS:
        kind, write = FORMATS[wanted]
        return HttpResponse(write(entries), content_type=kind)
    page = Paginator(entries, PER_PAGE).get_page(request.GET.get("page"))
    words = request.GET.copy()
    words.pop("page", None)
    return render(request, "rollbacks/log.html", {"form": form, "page": page, "query": words.urlencode()})


def filtered(form: LogFilter) -> QuerySet[RollbackLogEntry]:
    entries = RollbackLogEntry.objects.select_related("rollback", "rollback__system", "rollback__requested_by")
    if not form.is_valid():
        return entries
    wanted = form.cleaned_data
    if wanted["q"]:
        parts = ("trigger", "root_cause", "prevention", "rollback__system__name", "rollback__target")
        match = Q()
        for part in parts:
            match |= Q(**{f"{part}__icontains": wanted["q"]})
        entries = entries.filter(match)
    if wanted["system"]:
        entries = entries.filter(rollback__system=wanted["system"])
    if wanted["severity"]:
        entries = entries.filter(rollback__severity=wanted["severity"])
    return entries.filter(outcome=wanted["outcome"]) if wanted["outcome"] else entries


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
