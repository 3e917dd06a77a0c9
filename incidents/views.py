"""Pages of incidents: fetch, act, answer. Whether somebody may is decided in actions.py; what a refused move looks
like is the portal's (RefusedMoveMiddleware)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Case, F, Prefetch, Q, QuerySet, Value, When, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from incidents import action_items, actions, auditor, channels, duty, escalation, postmortems, reach
from incidents.arriving import over_alerts
from incidents.forms import (
    ActionItemForm,
    ChannelForm,
    DeclareForm,
    DeliveryFilterForm,
    FilterForm,
    NoteForm,
    SubscribeForm,
    WishesForm,
)
from incidents.models import (
    OPEN,
    ActionItem,
    Channel,
    DeliveryState,
    EmergencyContact,
    Incident,
    IncidentState,
    Notification,
    PostMortem,
    PostMortemState,
    Preference,
    Review,
    Severity,
    Subscription,
    Way,
)
from incidents.models.incident import DECLARERS
from incidents.models.notification import WANTABLE
from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused
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


def bearer(request: HttpRequest) -> str:
    """The token that a tool shows in its header; "" when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


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


def show(
    request: HttpRequest,
    incident: Incident,
    form: NoteForm,
    answering: int = 0,
    item_form: ActionItemForm | None = None,
) -> HttpResponse:
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
        "items": incident.action_items.select_related("owner").order_by(F("due_at").asc(nulls_first=True), "pk"),
        "item_form": item_form or ActionItemForm(),
        "postmortem": PostMortem.objects.filter(incident=incident).first(),
        "waivable": incident.severity in postmortems.WAIVABLE,
        "why_not_waive": postmortems.why_not_waive(incident, by),
        "deliveries": auditor.deliveries(incident.pk),
        "watches": duty.watches(),
        "escalates": escalation.next_level(escalation.of_incident(incident)) if incident.is_late else None,
    }
    return render(
        request,
        "incidents/incident.html",
        context,
        status=422 if form.errors or (item_form and item_form.errors) else 200,
    )


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


@require_POST
def waive(request: HttpRequest, pk: int) -> HttpResponse:
    incident, form = get_object_or_404(Incident, pk=pk), NoteForm(request.POST)
    if not form.is_valid():
        return show(request, incident, form)
    postmortems.waive(pk, by=person(request), note=form.cleaned_data["note"])
    messages.success(request, f"{incident} needs no post-mortem.")
    return redirect(incident)


# --- what is to be done ---------------------------------------------------------------------------------------------


@require_GET
def my_work(request: HttpRequest) -> HttpResponse:
    """What waits for this person, across all incidents, the overdue first."""
    by = person(request)
    owed = Review.objects.filter(reviewed_at=None).select_related("opened_by", "incident")
    in_review = PostMortem.objects.filter(state=PostMortemState.IN_REVIEW).select_related("incident")
    context = {
        "items": action_items.owned_by(by),
        "reviews": [review for review in owed if not actions.why_not_answer(review, by)],
        "postmortems": [each for each in in_review if not postmortems.why_not_publish(each, by)],
        "drafts": PostMortem.objects.filter(state=PostMortemState.DRAFT, authors=by).select_related("incident"),
    }
    return render(request, "incidents/my_work.html", context)


@require_POST
def add_item(request: HttpRequest, pk: int) -> HttpResponse:
    incident, form = get_object_or_404(Incident, pk=pk), ActionItemForm(request.POST)
    if not form.is_valid():
        return show(request, incident, NoteForm(), item_form=form)
    item = action_items.add_item(incident_pk=pk, by=person(request), **form.cleaned_data)
    messages.success(request, f"“{item.title}” is on the list.")
    return redirect(f"{incident.get_absolute_url()}#to-do")


@require_http_methods(["GET", "POST"])
def action_item(request: HttpRequest, pk: int) -> HttpResponse:
    """One item, and the form that changes it."""
    item = get_object_or_404(ActionItem.objects.select_related("owner", "incident", "made_by"), pk=pk)
    known = {name: getattr(item, name) for name in ("title", "owner", "term", "due_at")}
    form = ActionItemForm(request.POST or None, initial=known)
    if request.method == "POST" and form.is_valid():
        action_items.change_item(pk, by=person(request), **form.cleaned_data)
        messages.success(request, f"{item} is changed.")
        return redirect(item)
    context = {
        "item": item,
        "form": form,
        "why_not": actions.MAY_NOTE.why_not(item, person(request)),
        "history": rows_of(item).order_by("number"),
    }
    return render(request, "incidents/action_item.html", context, status=422 if form.errors else 200)


def act_on_item(request: HttpRequest, pk: int, move: Callable[..., ActionItem], said: str) -> HttpResponse:
    item, form = get_object_or_404(ActionItem, pk=pk), NoteForm(request.POST)
    if not form.is_valid():
        raise MoveRefused("The note is too long: at most 4000 characters are kept.", item)
    item = move(pk, by=person(request), note=form.cleaned_data["note"])
    messages.success(request, f"“{item.title}” {said}.")
    back = request.POST.get("next", "")
    here = url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if here else item.get_absolute_url())


@require_POST
def start_item(request: HttpRequest, pk: int) -> HttpResponse:
    return act_on_item(request, pk, action_items.start, "is in progress")


@require_POST
def finish_item(request: HttpRequest, pk: int) -> HttpResponse:
    return act_on_item(request, pk, action_items.finish, "is done")


@require_POST
def drop_item(request: HttpRequest, pk: int) -> HttpResponse:
    return act_on_item(request, pk, action_items.drop, "is dropped")


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
        "doubtful": reach.doubtful(),
        "unanswered": reach.unanswered(),
        "why_not_ask": reach.MAY_ASK.why_not(None, person(request)),
        "watches": duty.watches(),
        "why_not_verify": duty.MAY_VERIFY.why_not(None, person(request)),
        "members": members,
        "may_edit": person(request).is_staff and person(request).has_perm("incidents.change_emergencycontact"),
    }
    return render(request, "incidents/contacts.html", context)


# --- notifications --------------------------------------------------------------------------------------------------


def bell(request: HttpRequest) -> dict[str, Any]:
    """For every page: how much is unread, and what keeps messages from arriving. Asked only when a page shows it."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    news = Notification.objects.filter(person=user, way=Way.BROWSER, state=DeliveryState.SENT, read_at=None)
    return {"unread": SimpleLazyObject(news.count), "backlogs": SimpleLazyObject(auditor.backlogs)}


@require_GET
def notifications(request: HttpRequest) -> HttpResponse:
    """What was said to me, the newest first."""
    by = person(request)
    rows = Notification.objects.filter(person=by, way=Way.BROWSER).select_related("message").order_by("-pk")
    page = ByKeys(rows, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "incidents/notifications.html", {"page": page, "query": ""})


@require_POST
def read(request: HttpRequest) -> HttpResponse:
    channels.read(person(request))
    return redirect("incidents:notifications")


@require_http_methods(["GET", "POST"])
def my_channels(request: HttpRequest) -> HttpResponse:
    """My channels; with POST, a new one."""
    form = ChannelForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            channel = channels.add(by=person(request), **form.cleaned_data)
        except MoveRefused as refused:
            form.add_error("address", str(refused))
        else:
            messages.success(request, f"A code is on its way to {channel.label}. Type it in below: then it is used.")
            return redirect("incidents:my_channels")
    return show_channels(request, form, wishes_form(person(request)), SubscribeForm())


def wishes_form(by: User, data: Any = None) -> WishesForm:
    kept = Preference.objects.filter(person=by).first() or Preference()
    first = {
        "events": [value for value, _ in WANTABLE if value not in kept.unwanted_events],
        "severities": [value for value in Severity.values if value not in kept.unwanted_severities],
        "quiet_from": kept.quiet_from,
        "quiet_to": kept.quiet_to,
        "zone": kept.zone,
    }
    return WishesForm(data, initial=first)


def show_channels(
    request: HttpRequest, form: ChannelForm, wishes: WishesForm, subscribe: SubscribeForm
) -> HttpResponse:
    by = person(request)
    may_others = not channels.MAY_SUBSCRIBE_OTHERS.why_not(None, by)
    subscriptions = Subscription.objects.select_related("person", "made_by")
    context = {
        "form": form,
        "wishes": wishes,
        "subscribe": subscribe,
        "channels": by.channels.all(),
        "is_proven": by.channels.filter(verified_at__isnull=False).exists(),
        "subscriptions": subscriptions if may_others else subscriptions.filter(person=by),
        "why_not_others": channels.MAY_SUBSCRIBE_OTHERS.why_not(None, by),
    }
    wrong = form.errors or wishes.errors or subscribe.errors
    return render(request, "incidents/channels.html", context, status=422 if wrong else 200)


@require_POST
def set_wishes(request: HttpRequest) -> HttpResponse:
    form = wishes_form(person(request), request.POST)
    if not form.is_valid():
        return show_channels(request, ChannelForm(), form, SubscribeForm())
    wanted = form.cleaned_data
    channels.wish(
        by=person(request),
        events=[value for value, _ in WANTABLE if value not in wanted["events"]],
        severities=[value for value in Severity.values if value not in wanted["severities"]],
        zone=wanted["zone"],
        quiet_from=wanted["quiet_from"],
        quiet_to=wanted["quiet_to"],
    )
    messages.success(request, "Your wishes are kept. Critical messages come at any hour.")
    return redirect("incidents:my_channels")


@require_POST
def subscribe(request: HttpRequest) -> HttpResponse:
    form = SubscribeForm(request.POST)
    if not form.is_valid():
        return show_channels(request, ChannelForm(), wishes_form(person(request)), form)
    made = channels.subscribe(by=person(request), **form.cleaned_data)
    messages.success(request, f"Subscribed: {made}.")
    return redirect("incidents:my_channels")


@require_POST
def unsubscribe(request: HttpRequest, pk: int) -> HttpResponse:
    get_object_or_404(Subscription, pk=pk)
    channels.unsubscribe(pk, by=person(request))
    return redirect("incidents:my_channels")


def on_my_channel(request: HttpRequest, pk: int, deed: Callable[..., Any], said: str) -> HttpResponse:
    """A deed on a channel of one's own: another's does not exist."""
    by = person(request)
    channel = get_object_or_404(Channel, pk=pk, person=by)
    try:
        deed(pk, by=by)
        messages.success(request, said.format(channel.label))
    except MoveRefused as refused:
        messages.warning(request, str(refused))
    return redirect("incidents:my_channels")


@require_POST
def send_code(request: HttpRequest, pk: int) -> HttpResponse:
    return on_my_channel(request, pk, channels.send_again, "A new code is on its way to {}.")


@require_POST
def prove(request: HttpRequest, pk: int) -> HttpResponse:
    code = request.POST.get("code", "")[:20]
    return on_my_channel(
        request, pk, partial(channels.prove, code=code), "{} is proven: messages go there from now on."
    )


@require_POST
def remove_channel(request: HttpRequest, pk: int) -> HttpResponse:
    return on_my_channel(request, pk, channels.remove, "{} is removed. What waited for it is not sent.")


@require_POST
def first_channel(request: HttpRequest, pk: int) -> HttpResponse:
    return on_my_channel(request, pk, channels.first, "{} is the first now.")


# --- deliveries -----------------------------------------------------------------------------------------------------


@require_GET
def deliveries(request: HttpRequest) -> HttpResponse:
    """Who was told what, and whether it arrived: for those who answer for it."""
    channels.check(channels.MAY_READ_ALL, person(request), "read all deliveries")
    return show_deliveries(request, Notification.objects.all(), None)


@require_GET
def incident_deliveries(request: HttpRequest, pk: int) -> HttpResponse:
    """The same, of one incident: for everybody who may read the incident."""
    incident = get_object_or_404(Incident, pk=pk)
    return show_deliveries(request, Notification.objects.filter(message__incident=incident), incident)


def show_deliveries(request: HttpRequest, rows: QuerySet[Notification], incident: Incident | None) -> HttpResponse:
    form = DeliveryFilterForm(request.GET)
    if form.is_valid() and form.cleaned_data["state"]:
        rows = rows.filter(state=form.cleaned_data["state"])
    rows = rows.select_related("message", "person", "bundle").prefetch_related("attempts").order_by("-pk")
    words = request.GET.copy()
    words.pop("page", None)
    context = {
        "incident": incident,
        "form": form,
        "page": ByKeys(rows, PER_PAGE).get_page(request.GET.get("page")),
        "query": words.urlencode(),
        "why_not_resend": channels.MAY_RESEND.why_not(None, person(request)),
        "alarm": auditor.alarm(),
    }
    return render(request, "incidents/deliveries.html", context)


@require_POST
def resend(request: HttpRequest, pk: int) -> HttpResponse:
    old = get_object_or_404(Notification.objects.select_related("message"), pk=pk)
    channels.resend(pk, by=person(request))
    messages.success(request, f"“{old.message}” goes to {old.to} once more.")
    if old.message.incident_id:
        return redirect("incidents:incident_deliveries", old.message.incident_id)
    return redirect("incidents:deliveries")


@require_POST
def update(request: HttpRequest, pk: int) -> HttpResponse:
    """A status update for everybody who has subscribed."""
    incident, form = get_object_or_404(Incident, pk=pk), NoteForm(request.POST)
    if not form.is_valid():
        return show(request, incident, form)
    actions.update(pk, by=person(request), text=form.cleaned_data["note"])
    messages.success(request, "The update is on the timeline, and on its way to everybody who has subscribed.")
    return redirect(incident)
