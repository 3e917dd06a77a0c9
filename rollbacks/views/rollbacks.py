from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from incidents.models import Scope, Severity
from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused
from rollbacks import actions, checklist, notices, people, watching
from rollbacks.forms import NoteForm, RollbackForm
from rollbacks.models import ACTIVE, NoMatrix, RestorePoint, Rollback, RollbackState, System
from rollbacks.models.matrix import PROCEDURES, decide

PIECES_SHOWN = 50  # the newest pieces of it that are read
OUTPUT_SHOWN = 20_000  # characters of a step's output on the page; the whole is one click away


@require_http_methods(["GET", "POST"])
def roll_back(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for a rollback of this system."""
    system = get_object_or_404(System, name=name)
    incident = actions.open_incident(system, request.GET.get("incident", ""))
    initial = {
        "procedure": request.GET.get("procedure", ""),
        "incident": incident,
        "severity": incident.severity if incident else Severity.HIGH,
        "scope": incident.scope if incident else Scope.MULTIPLE,
        "target": request.GET.get("to", ""),
        "reason": incident.title if incident else "",
    }
    form = RollbackForm(system, request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            return redirect(actions.request(system=system, by=request.user, **form.cleaned_data))  # type: ignore[arg-type]
        except (MoveRefused, NoMatrix) as error:
            form.add_error(None, str(error))
    context = {"form": form, "system": system, **matrix_context(request, form)}
    context["why_not"] = actions.MAY_REQUEST.why_not(None, request.user)  # type: ignore[arg-type]
    context["active"] = system.rollbacks.filter(state__in=ACTIVE).first()
    return render(request, "rollbacks/roll_back.html", context, status=422 if form.errors else 200)


@require_GET
def matrix_answer(request: HttpRequest, name: str) -> HttpResponse:
    """The matrix's answer to what the form says so far (htmx asks for it as the form changes)."""
    system = get_object_or_404(System, name=name)
    form = RollbackForm(system, initial=request.GET.dict())
    return render(request, "rollbacks/partials/matrix.html", {"system": system, **matrix_context(request, form)})


def matrix_context(request: HttpRequest, form: RollbackForm) -> dict[str, object]:
    chosen = {key: form[key].value() or form.fields[key].choices[0][0] for key in ("procedure", "severity", "scope")}  # type: ignore[attr-defined]
    known = {"procedure": dict(PROCEDURES), "severity": dict(Severity.choices), "scope": dict(Scope.choices)}
    if any(chosen[key] not in known[key] for key in known):
        return {"rules": [], "decision": None}
    try:
        rules = actions.matrix()
        decision = decide(rules, **chosen)
    except NoMatrix as error:
        return {"rules": [], "decision": None, "no_matrix": str(error)}
    probe = Rollback(rule=decision.rule, requested_by=request.user)
    return {
        "rules": rules,
        "decision": decision,
        "recommended": dict(PROCEDURES).get(decision.recommended, ""),
        "approvers": people.approvers(probe),
    }


@require_GET
def rollback(request: HttpRequest, pk: int) -> HttpResponse:
    rollback = get_object_or_404(
        Rollback.objects.select_related("system", "incident", "requested_by", "rule", "rule__version", "run"), pk=pk
    )
    plan = rollback.plan_now
    steps = list(rollback.run.steps.all())
    for step in steps:
        last = step.output.order_by("-pk").values_list("text", flat=True)[:PIECES_SHOWN]
        step.shown = "".join(reversed(last))[-OUTPUT_SHOWN:]
    waiting = rollback.state == RollbackState.AWAITING_APPROVAL
    return render(
        request,
        "rollbacks/rollback.html",
        {
            "rollback": rollback,
            "system": rollback.system,
            "plan": plan,
            "shown": plan.body["shown"] if plan else None,
            "votes": plan.approvals.select_related("voter") if plan else [],
            "bad": RestorePoint.bad_release(rollback.system, plan.target_commit) if plan else None,
            "checklist": checklist.read(rollback),
            "watch": watching.chart(rollback),
            "steps": steps,
            "run": rollback.run,
            "measured": rollback.run.measured,
            "entry": getattr(rollback, "log_entry", None),
            "buttons": people.buttons(rollback, request.user),  # type: ignore[arg-type]
            "approvers": people.approvers(rollback) if waiting else [],
            "next_asked": notices.next_asked(rollback),
            "why_not_explain": actions.MAY_REQUEST.why_not(None, request.user),  # type: ignore[arg-type]
            "history": rows_of(rollback).exclude(move__startswith="step ").order_by("number"),
        },
    )


@require_GET
def output(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """All that is kept of what one step said, as plain text."""
    rollback = get_object_or_404(Rollback.objects.select_related("run"), pk=pk)
    step = get_object_or_404(rollback.run.steps, number=number)
    text = "".join(step.output.values_list("text", flat=True))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def verb(
    act: Callable[..., Rollback], said: str, *, of_plan: bool = False
) -> Callable[[HttpRequest, int], HttpResponse]:
    """A POST-only view for one of the people's moves: the note from the form, the action, back to the page.

    `of_plan`: it decides on the plan that the page showed, and on no other.
    """

    @require_POST
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        note = NoteForm(request.POST).words(get_object_or_404(Rollback, pk=pk))
        read = {"digest": request.POST.get("digest", "")} if of_plan else {}
        rollback = act(pk, by=request.user, note=note, **read)
        messages.success(request, f"{rollback} {said}.")
        return redirect(rollback)

    return view


def word_on(act: Callable[..., Rollback], said: str) -> Callable[[HttpRequest, int, str], HttpResponse]:
    """A POST-only view for a person's word on one item of the checklist."""

    @require_POST
    def view(request: HttpRequest, pk: int, item: str) -> HttpResponse:
        note = NoteForm(request.POST).words(get_object_or_404(Rollback, pk=pk))
        try:
            rollback = act(pk, by=request.user, item=item, note=note)
        except actions.Unknown as error:
            raise Http404(str(error)) from error
        messages.success(request, f"The checklist of {rollback} has your {said}.")
        return redirect(f"{rollback.get_absolute_url()}#checklist")

    return view


tick = word_on(actions.tick, "tick")
withdraw = word_on(actions.withdraw, "withdrawal")
approve = verb(actions.approve, "has your vote", of_plan=True)
reject = verb(actions.reject, "is rejected", of_plan=True)
override = verb(actions.override, "is approved by your override; a review is open", of_plan=True)
cancel = verb(actions.cancel, "is cancelled")
abort = verb(actions.abort, "is aborted: everything is put back as it was found")
complete = verb(actions.complete, "is complete")
resume = verb(actions.resume, "goes on")
revert = verb(actions.revert, "is being undone")
settle = verb(actions.settle, "is settled: it was finished by hand")


@require_GET
def rollbacks(request: HttpRequest) -> HttpResponse:
    return redirect(reverse("rollbacks:log"))
