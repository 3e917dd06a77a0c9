"""Pages of incidents: fetch, act, answer. Whether somebody may is decided in actions.py; what a refused move looks
like is the portal's (RefusedMoveMiddleware)."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Case, Prefetch, Q, QuerySet, Value, When, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from incidents import actions, duty
from incidents.arriving import over_alerts
from incidents.forms import DeclareForm, FilterForm, NoteForm
from incidents.models import OPEN, EmergencyContact, Incident, IncidentState, Review
from incidents.models.incident import DECLARERS
from portal.ledger.paging import ByKeys
from portal.ledger.roles import Role

PER_PAGE = 25
LINES = 200  # of the timeline, on the page


def person(request: HttpRequest) -> User:
    """Who asks, with their groups: each reason why they may not names their roles. (LoginRequiredMiddleware lets nobody
    else in.)"""
    assert isinstance(request.user, User)
    prefetch_related_objects([request.user], "groups")
    return request.user


# --- all of them ----------------------------------------------------------------------------------------------------


@require_GET
def incidents(request: HttpRequest) -> HttpResponse:
    form = FilterForm(request.GET)
    page = ByKeys(found(form), PER_PAGE).get_page(request.GET.get("page"))
    words = request.GET.copy()
    words.pop("page", None)
    context = {
        "form": form,
        "page": page,
        "query": words.urlencode(),
        "open_count": Incident.objects.filter(state__in=OPEN).count(),
        "why_not": DECLARERS.why_not(None, person(request)),
    }
    return render(request, "incidents/incidents.html", context)


def found(form: FilterForm) -> QuerySet[Incident]:
    """What the filter asks for, open ones first. A filter that is not understood filters nothing, and says so."""
    named = Prefetch("systems", Incident._meta.get_field("systems").related_model._default_manager.only("name"))
    rows = Incident.objects.select_related("declared_by").prefetch_related(named)
    rows = rows.annotate(over=Case(When(state__in=OPEN, then=Value(0)), default=Value(1)))
    rows = rows.order_by("over", "-declared_at", "-pk")
    if not form.is_valid():
        return rows
    wanted = form.cleaned_data
    if wanted["q"]:
        rows = rows.filter(Q(title__icontains=wanted["q"]) | Q(summary__icontains=wanted["q"]))
    if wanted["severity"]:
        rows = rows.filter(severity=wanted["severity"])
    if wanted["state"] == "open":
        return rows.filter(state__in=OPEN)
    if wanted["state"] == "late":
        return rows.filter(state=IncidentState.DECLARED, respond_by__lt=timezone.now())
    return rows.filter(state=wanted["state"]) if wanted["state"] else rows


@require_http_methods(["GET", "POST"])
def declare(request: HttpRequest) -> HttpResponse:
    form = DeclareForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        incident = actions.declare(by=person(request), **form.cleaned_data)
        return redirect(incident)
    context = {"form": form, "why_not": DECLARERS.why_not(None, person(request))}
    return render(request, "incidents/declare.html", context, status=422 if form.errors else 200)


# --- one of them ----------------------------------------------------------------------------------------------------


@require_GET
def incident(request: HttpRequest, pk: int) -> HttpResponse:
    return show(request, get_object_or_404(Incident, pk=pk), NoteForm())


def show(request: HttpRequest, incident: Incident, form: NoteForm, answering: int = 0) -> HttpResponse:
    """The page; with what was typed when it could not be taken (`answering` is the review whose form that was)."""
    by = person(request)
    # What the floors above have linked to it, by the names that they gave to the way back.
    prefetch_related_objects([incident], "systems", "rollbacks__system", "rollbacks__requested_by")
    timeline = list(incident.timeline.order_by("-at", "-pk")[: LINES + 1])
    reviews = incident.reviews.select_related("opened_by", "reviewed_by")
    context = {
        "incident": incident,
        "moves": actions.moves(incident, by),
        "timeline": timeline[:LINES],
        "timeline_is_cut": len(timeline) > LINES,
        "form": form,
        "answering": answering,
        "alerts": incident.alerts.select_related("source"),
        "over": over_alerts(incident),
        "why_not_note": actions.MAY_NOTE.why_not(incident, by),
        "reviews": [{"review": review, "why_not": actions.why_not_answer(review, by)} for review in reviews],
        "contacts": EmergencyContact.objects.select_related("person"),
        "watches": duty.watches(),
    }
    return render(request, "incidents/incident.html", context, status=422 if form.errors else 200)


def act(request: HttpRequest, pk: int, move: Callable[..., Incident], said: str) -> HttpResponse:
    """One person's move, with the note that was typed beside its button."""
    incident, form = get_object_or_404(Incident, pk=pk), NoteForm(request.POST)
    if not form.is_valid():
        return show(request, incident, form)
    move(pk, by=person(request), note=form.cleaned_data["note"])
    messages.success(request, f"{incident} {said}.")
    return redirect(incident)


@require_POST
def acknowledge(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.acknowledge, "is acknowledged: it is yours until somebody else takes it")


@require_POST
def mitigate(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.mitigate, "is being mitigated")


@require_POST
def monitor(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.monitor, "is being monitored")


@require_POST
def resolve(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.resolve, "is resolved")


@require_POST
def close(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.close, "is closed")


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.cancel, "is cancelled")


@require_POST
def reopen(request: HttpRequest, pk: int) -> HttpResponse:
    return act(request, pk, actions.reopen, "is open again")


@require_POST
def note(request: HttpRequest, pk: int) -> HttpResponse:
    incident, form = get_object_or_404(Incident, pk=pk), NoteForm(request.POST)
    if not form.is_valid():
        return show(request, incident, form)
    actions.note(pk, by=person(request), text=form.cleaned_data["note"])
    return redirect(incident)


@require_POST
def answer_review(request: HttpRequest, pk: int) -> HttpResponse:
    review, form = get_object_or_404(Review.objects.select_related("incident"), pk=pk), NoteForm(request.POST)
    if not form.is_valid() and review.incident:
        return show(request, review.incident, form, answering=review.pk)
    actions.answer_review(pk, by=person(request), note=form.cleaned_data.get("note", ""))
    messages.success(request, f"The review of {review.subject} is done.")
    return redirect(review.incident or review.url)


# --- whom to reach --------------------------------------------------------------------------------------------------


@require_GET
def contacts(request: HttpRequest) -> HttpResponse:
    people = User.objects.filter(is_active=True, groups__name__in=list(Role)).distinct().order_by("last_name", "pk")
    members: dict[str, list[User]] = {role.value: [] for role in Role}
    for member in people.prefetch_related("groups"):
        for group in member.groups.all():
            if group.name in members:
                members[group.name].append(member)
    context = {
        "contacts": EmergencyContact.objects.select_related("person").prefetch_related("deputies"),
        "watches": duty.watches(),
        "why_not_verify": duty.MAY_VERIFY.why_not(None, person(request)),
        "members": members,
        "may_edit": person(request).is_staff and person(request).has_perm("incidents.change_emergencycontact"),
    }
    return render(request, "incidents/contacts.html", context)
