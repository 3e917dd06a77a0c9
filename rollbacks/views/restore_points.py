from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from rollbacks import actions, keeping
from rollbacks.forms import NoteForm
from rollbacks.models import RestorePoint, RestorePointState, System
from rollbacks.retention import EVIDENCE_DAYS, SAFETY_LAST

GONE_SHOWN = 20


@require_GET
def restore_points(request: HttpRequest, name: str) -> HttpResponse:
    """All that a system has, with what its rule keeps of it: the dry run of prune."""
    system = get_object_or_404(System, name=name)
    verdicts = keeping.verdicts(system)
    gone = [RestorePointState.PRUNED, RestorePointState.FAILED]
    context = {
        "system": system,
        "rule": system.manifest.retention,
        "safety_last": SAFETY_LAST,
        "evidence_days": EVIDENCE_DAYS,
        "verdicts": verdicts,
        "hand_made": keeping.hand_made(system),
        "going": [verdict.point for verdict in verdicts if not verdict.stays],
        "making": system.restore_points.filter(state=RestorePointState.CREATING),
        "gone": system.restore_points.filter(state__in=gone)[:GONE_SHOWN],
        "why_not_request": actions.MAY_REQUEST.why_not(None, request.user),  # type: ignore[arg-type]
        "why_not_prune": actions.MAY_MANAGE.why_not(None, request.user),  # type: ignore[arg-type]
    }
    return render(request, "rollbacks/restore_points.html", context)


@require_POST
def adopt(request: HttpRequest, name: str) -> HttpResponse:
    system, tag = get_object_or_404(System, name=name), request.POST.get("tag", "")
    point = actions.adopt_backup(system=system, tag=tag, by=request.user)  # type: ignore[arg-type]
    return redirect("rollbacks:restore_point", point.pk)


@require_POST
def prune(request: HttpRequest, name: str) -> HttpResponse:
    """Only what the person has read in the list, and what the rule still lets go."""
    system = get_object_or_404(System, name=name)
    gone = actions.prune(system=system, by=request.user, only=request.POST.getlist("tag"))  # type: ignore[arg-type]
    what = f"{len(gone)} restore point{'' if len(gone) == 1 else 's'}"
    messages.success(request, f"{what} let go of. The worker on {system.host} takes what was let go of off its disk.")
    return redirect("rollbacks:restore_points", name)


@require_GET
def restore_point(request: HttpRequest, pk: int) -> HttpResponse:
    point = get_object_or_404(RestorePoint.objects.select_related("system", "made_by"), pk=pk)
    run = getattr(point, "run", None)
    steps = run.steps.prefetch_related("output") if run else []
    why_not = actions.MAY_REQUEST.why_not(None, request.user)  # type: ignore[arg-type]
    return render(
        request,
        "rollbacks/restore_point.html",
        {"point": point, "system": point.system, "run": run, "steps": steps, "why_not": why_not},
    )


@require_POST
def verify(request: HttpRequest, pk: int) -> HttpResponse:
    get_object_or_404(RestorePoint, pk=pk)
    point = actions.verify(pk, by=request.user)  # type: ignore[arg-type]
    messages.success(request, f"{point} is read back by the worker on {point.system.host}. This page shows the result.")
    return redirect("rollbacks:restore_point", pk)


@require_POST
def pin(request: HttpRequest, pk: int) -> HttpResponse:
    get_object_or_404(RestorePoint, pk=pk)
    point = actions.pin(pk, by=request.user, pinned="unpin" not in request.POST)  # type: ignore[arg-type]
    messages.success(request, f"{point} is {'pinned: it is never removed' if point.pinned else 'no longer pinned'}.")
    return redirect("rollbacks:restore_point", pk)


@require_POST
def mark_bad(request: HttpRequest, pk: int) -> HttpResponse:
    """A note marks it bad; an empty one takes the mark away."""
    note = NoteForm(request.POST).words(get_object_or_404(RestorePoint, pk=pk))
    point = actions.mark_bad(pk, by=request.user, reason=note)  # type: ignore[arg-type]
    messages.success(request, f"{point} is {'marked bad: it is no longer offered' if point.bad else 'no longer bad'}.")
    return redirect("rollbacks:restore_point", pk)
