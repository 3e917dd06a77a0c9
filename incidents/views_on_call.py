"""Pages of who is on call: now, next and ahead; what changes it; and the same for calendars and tools."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from incidents import duty, reach
from incidents.calendars import BadCalendar, read, written
from incidents.forms import CalendarForm, OverrideForm, SwapForm
from incidents.models import EmergencyContact, Notification, Rotation
from incidents.views import bearer, person
from portal.ledger.moves import MoveRefused
from portal.ledger.roles import called

LARGEST = 1024 * 1024  # bytes of a calendar file


@require_GET
def on_call(request: HttpRequest) -> HttpResponse:
    return show(request, CalendarForm())


def show(request: HttpRequest, form: CalendarForm, address: str = "") -> HttpResponse:
    by = person(request)
    watches = duty.watches()
    context = {
        "watches": watches,
        "mine": [each for watch in watches for each in watch.ahead if each.person == by],
        "absences": by.absences.filter(ends_at__gt=timezone.now()),
        "form": form,
        "address": address,
        "why_not": duty.MAY_CHANGE.why_not(None, by),
        "may_edit": by.is_staff and by.has_perm("incidents.change_rotation"),
    }
    response = render(request, "incidents/on_call.html", context, status=422 if form.errors else 200)
    if address:
        response.headers["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "POST"])
def override(request: HttpRequest, pk: int) -> HttpResponse:
    rotation = get_object_or_404(Rotation, pk=pk)
    form = OverrideForm(rotation, request.POST or None, initial={"person": request.user.pk})
    if request.method == "POST" and form.is_valid():
        try:
            made = duty.take_over(by=person(request), rotation=rotation, **form.cleaned_data)
        except MoveRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{called(made.person)} is on call for {rotation} in that time.")
            return redirect("incidents:on_call")
    context = {"rotation": rotation, "form": form, "why_not": duty.MAY_CHANGE.why_not(None, person(request))}
    return render(request, "incidents/override.html", context, status=422 if form.errors else 200)


@require_POST
def swap(request: HttpRequest, pk: int) -> HttpResponse:
    rotation, form = get_object_or_404(Rotation, pk=pk), SwapForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose two shifts from the lists: nothing was changed.")
        return redirect("incidents:on_call")
    try:
        given, taken = duty.swap(by=person(request), rotation=rotation, **form.cleaned_data)
    except MoveRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{called(given.person)} and {called(taken.person)} have swapped.")
    return redirect("incidents:on_call")


@require_POST
def address(request: HttpRequest) -> HttpResponse:
    """A new private address, shown in this answer and never again."""
    token = duty.new_address(by=person(request))
    return show(request, CalendarForm(), request.build_absolute_uri(f"/on-call/calendar/{token}.ics"))


@require_POST
def absences(request: HttpRequest) -> HttpResponse:
    form = CalendarForm(request.POST, request.FILES)
    if form.is_valid() and form.cleaned_data["file"].size > LARGEST:
        form.add_error("file", "The file is larger than 1 MB: nothing was taken from it.")
    if not form.is_valid():
        return show(request, form)
    try:
        entries = read(form.cleaned_data["file"].read(), ZoneInfo(form.cleaned_data["time_zone"]))
    except BadCalendar as error:
        form.add_error("file", f"{error} Nothing was taken from it.")
        return show(request, form)
    count = duty.bring_absences(by=person(request), entries=entries)
    messages.success(request, f"{count} absence{'s are' if count > 1 else ' is'} written down.")
    return redirect("incidents:on_call")


@login_not_required
@require_GET
def calendar(request: HttpRequest, token: str) -> HttpResponse:
    owner = duty.owner_of(token)
    if owner is None:
        raise Http404("There is no such calendar.")
    now = timezone.now()
    return HttpResponse(written(duty.entries_of(owner, now), now), content_type="text/calendar; charset=utf-8")


@login_not_required
@require_GET
def api(request: HttpRequest) -> JsonResponse:
    """For tools: with a person's private token in the header, or their session."""
    if not request.user.is_authenticated and not duty.owner_of(bearer(request)):
        return JsonResponse({"error": "Send Authorization: Bearer <your private token>."}, status=401)
    return JsonResponse({"rotations": [said(each) for each in duty.watches()]})


def said(watch: duty.Watch) -> dict[str, object]:
    return {
        "name": watch.rotation.name,
        "covers": watch.rotation.covers,
        "now": shift_said(watch.now),
        "next": shift_said(watch.following) if watch.following else None,
    }


def shift_said(each: duty.Duty) -> dict[str, object]:
    shift, who = each.shift, each.person
    name = {"username": who.get_username(), "name": called(who), "email": who.email} if isinstance(who, User) else None
    return {"person": name, "gap": shift.why, "start": shift.start.isoformat(), "end": shift.end.isoformat()}


# --- contacts -------------------------------------------------------------------------------------------------------


@require_GET
def print_contacts(request: HttpRequest) -> HttpResponse:
    contacts = EmergencyContact.objects.select_related("person").prefetch_related("deputies")
    context = {"contacts": contacts, "watches": duty.watches(), "now": timezone.now()}
    return render(request, "incidents/print.html", context)


@require_POST
def verify(request: HttpRequest, pk: int) -> HttpResponse:
    get_object_or_404(EmergencyContact, pk=pk)
    contact = duty.verify_contact(pk, by=person(request))
    messages.success(request, f"{contact} is verified today.")
    return redirect("incidents:contacts")


@require_POST
def drill(request: HttpRequest) -> HttpResponse:
    made = reach.ask(by=person(request))
    if made:
        messages.success(request, f"Asked on {len(made)} channels. What nobody confirms is shown here.")
    else:
        messages.info(request, "Nobody was asked: there is no channel, or all were asked within the day.")
    return redirect("incidents:contacts")


@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Opening the link says nothing yet: mail servers open links too."""
    try:
        asked = reach.asked_by(token, by=person(request))
    except Notification.DoesNotExist:
        raise Http404("The portal has sent no such link.") from None
    if request.method == "POST":
        reach.confirm(token, by=person(request))
        messages.success(request, "Thank you: it is confirmed.")
        return redirect("incidents:contacts")
    context = {"asked": asked, "is_too_old": asked.message.expires_at <= timezone.now()}
    return render(request, "incidents/confirm.html", context)
