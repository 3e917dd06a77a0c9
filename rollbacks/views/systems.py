from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from incidents import actions as incidents
from incidents.forms import DeclareForm
from incidents.models.incident import DECLARERS
from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused
from portal.ledger.paging import ByKeys
from rollbacks import actions, keeping
from rollbacks.forms import BackupForm, ManifestForm
from rollbacks.models import ACTIVE, RestorePoint, RestorePointState, Rollback, System
from rollbacks.tools.manifest import shown

PER_PAGE = 40
EXAMPLE = """[system]
name = "agents"
root = "/srv/agents"                  # the git checkout
backups = "/var/backups/agents"
config = ["config/agents.config.json"]
secrets = [".env"]
artifacts = ["artifacts"]
logs = ["logs"]

[service]
manager = "systemd"                   # systemd, supervisor, none
unit = "agents"

[commands]
test = "invoke test"

[health]
url = "http://127.0.0.1:8000/health"
"""


def with_latest(systems: QuerySet[System]) -> QuerySet[Any]:
    """Systems with their last good backup and their active rollback, in one query."""
    good = RestorePoint.objects.filter(
        system=OuterRef("pk"),
        kind=RestorePoint.Kind.BACKUP,
        state__in=[RestorePointState.AVAILABLE, RestorePointState.VERIFIED],
        bad=False,
    )
    active = Rollback.objects.filter(system=OuterRef("pk"), state__in=ACTIVE).order_by()  # there is one at most
    return systems.annotate(
        last_backup=Subquery(good.values("made_at")[:1]), active_rollback=Subquery(active.values("pk")[:1])
    )


@require_GET
def systems(request: HttpRequest) -> HttpResponse:
    page = ByKeys(with_latest(System.objects.filter(retired=False)), PER_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "systems": page.object_list, "may_add": may_manage(request)}
    return render(request, "rollbacks/systems.html", context)


def may_manage(request: HttpRequest) -> str:
    """ "" or why this person may not add or change systems."""
    return actions.MAY_MANAGE.why_not(None, request.user)  # type: ignore[arg-type]


@require_http_methods(["GET", "POST"])
def add_system(request: HttpRequest) -> HttpResponse:
    form = ManifestForm(request.POST or None, request.FILES or None, initial={"text": EXAMPLE})
    if request.method == "POST" and form.is_valid():
        system, created = actions.add_system(by=request.user, text=form.cleaned_data["text"])  # type: ignore[arg-type]
        messages.success(request, f"{system} was {'added' if created else 'changed'}.")
        return redirect(system)
    context = {"form": form, "why_not": may_manage(request)}
    return render(request, "rollbacks/manifest.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def manifest(request: HttpRequest, name: str) -> HttpResponse:
    system = get_object_or_404(System, name=name)
    why_not = may_manage(request)
    initial = {"text": shown(system.manifest_text) if why_not else system.manifest_text}
    form = ManifestForm(request.POST or None, request.FILES or None, system=system, initial=initial)
    if request.method == "POST" and form.is_valid():
        changed, _ = actions.add_system(by=request.user, text=form.cleaned_data["text"])  # type: ignore[arg-type]
        messages.success(request, f"{changed} was changed.")
        return redirect(changed)
    context = {"form": form, "system": system, "why_not": why_not}
    return render(request, "rollbacks/manifest.html", context, status=422 if form.errors else 200)


@require_GET
def system(request: HttpRequest, name: str) -> HttpResponse:
    system = get_object_or_404(System, name=name)
    points = system.restore_points.select_related("made_by")[:30]
    return render(
        request,
        "rollbacks/system.html",
        {
            "system": system,
            "manifest": system.manifest,
            "facts": system.facts,
            "points": points,
            "hand_made": keeping.hand_made(system),
            "corrupt": system.restore_points.filter(state=RestorePointState.CORRUPT)[:5],
            "last_good": next((point for point in points if point.is_target), None),
            "active": system.rollbacks.filter(state__in=ACTIVE).select_related("requested_by").first(),
            "rollbacks": system.rollbacks.select_related("requested_by", "log_entry")[:10],
            "incidents": system.incidents.all()[:5],
            "health_changes": system.health_changes.all()[:8],
            "history": rows_of(system)[:5],
            "backup_form": BackupForm(),
            "why_not_request": actions.MAY_REQUEST.why_not(None, request.user),  # type: ignore[arg-type]
            "why_not_manage": may_manage(request),
        },
    )


@require_POST
def backup(request: HttpRequest, name: str) -> HttpResponse:
    system = get_object_or_404(System, name=name)
    form = BackupForm(request.POST)
    if not form.is_valid():
        raise MoveRefused(f"No backup was made: the reason has to be shorter. {form.errors['reason'][0]}", system)
    reason = form.cleaned_data["reason"]
    point = actions.backup(system=system, by=request.user, reason=reason)  # type: ignore[arg-type]
    return redirect("rollbacks:restore_point", point.pk)


@require_http_methods(["GET", "POST"])
def declare(request: HttpRequest, name: str) -> HttpResponse:
    """Declare an incident that names this system."""
    system = get_object_or_404(System, name=name)
    form = DeclareForm(request.POST or None, initial={"title": f"{system} is {system.health}"})
    if request.method == "POST" and form.is_valid():
        incident = incidents.declare(by=request.user, **form.cleaned_data)  # type: ignore[arg-type]
        system.incidents.add(incident)
        return redirect(incident)
    why_not = DECLARERS.why_not(None, request.user)  # type: ignore[arg-type]
    context = {"form": form, "system": system, "why_not": why_not}
    return render(request, "incidents/declare.html", context, status=422 if form.errors else 200)
