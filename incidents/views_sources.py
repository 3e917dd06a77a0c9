"""Pages of the sources: what may declare incidents by itself. Their messages come in at rollbacks/views/arrivals.py."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from incidents import arriving
from incidents.forms import SourceForm
from incidents.models import Source
from incidents.views import person

SHOWN = 20  # of the last alerts and refusals


@require_http_methods(["GET", "POST"])
def sources(request: HttpRequest) -> HttpResponse:
    """All of them, and the form that adds one. Its token is shown in the answer, and never again."""
    by = person(request)
    form = SourceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        source, token = arriving.add_source(by=by, **form.cleaned_data)
        return show(request, source, token=token)
    context = {"sources": Source.objects.all(), "form": form, "why_not": arriving.MAY_MANAGE.why_not(None, by)}
    return render(request, "incidents/sources.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def source(request: HttpRequest, name: str) -> HttpResponse:
    source = get_object_or_404(Source, name=name)
    form = SourceForm(request.POST or None, instance=source)
    if request.method == "POST" and form.is_valid():
        arriving.change_source(source.pk, by=person(request), **form.cleaned_data)
        messages.success(request, f"{form.cleaned_data['name']} was changed.")
        return redirect("incidents:source", form.cleaned_data["name"])
    return show(request, get_object_or_404(Source, name=name), form)


def show(request: HttpRequest, source: Source, form: SourceForm | None = None, token: str = "") -> HttpResponse:
    address = request.build_absolute_uri(f"/in/{source.name}/")
    context = {
        "source": source,
        "form": form or SourceForm(instance=source),
        "token": token,
        "address": address,
        "alerts": source.alerts.select_related("incident")[:SHOWN],
        "refusals": source.refusals.all()[:SHOWN],
        "why_not": arriving.MAY_MANAGE.why_not(None, person(request)),
    }
    response = render(request, "incidents/source.html", context, status=422 if form and form.errors else 200)
    if token:
        response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
def rotate(request: HttpRequest, name: str) -> HttpResponse:
    source = get_object_or_404(Source, name=name)
    source, token = arriving.rotate_token(source.pk, by=person(request))
    return show(request, source, token=token)
