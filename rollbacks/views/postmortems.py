"""The post-mortem's pages: write with its preview beside it, review, publish, read, print, export. They stand on this
floor because they show what the machines did beside what the people wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from incidents import postmortems
from incidents.actions import MAY_NOTE
from incidents.forms import AudienceForm, NoteForm, SectionForm
from incidents.models import Comment, Incident, PostMortem, PostMortemSection, PostMortemState, Revision
from incidents.prose import LONGEST
from incidents.prose import render as as_html
from portal.ledger.moves import MoveRefused, why_not
from rollbacks import actions
from rollbacks.facts import Block, as_markdown, facts


@require_GET
def postmortem(request: HttpRequest, pk: int) -> HttpResponse:
    incident = get_object_or_404(Incident, pk=pk)
    found = of(incident)
    if found is None:
        context = {"incident": incident, "why_not": MAY_NOTE.why_not(incident, request.user)}  # type: ignore[arg-type]
        return render(request, "rollbacks/postmortem_none.html", context)
    return show(request, found)


def of(incident: Incident) -> PostMortem | None:
    return PostMortem.objects.filter(incident=incident).select_related("incident", "begun_by", "published_by").first()


def show(request: HttpRequest, found: PostMortem, typed: dict[int, str] | None = None) -> HttpResponse:
    """The page; `typed` holds what could not be saved, by section."""
    by: Any = request.user
    may_write = found.state == PostMortemState.DRAFT and not MAY_NOTE.why_not(found, by)
    blocks = facts_of(found)
    sections = []
    for section in found.sections.select_related("saved_by"):
        shown: dict[str, Any] = {"section": section, "facts": [each for each in blocks if each.section == section.key]}
        shown |= {"comments": section.comments.select_related("by", "resolved_by"), "html": as_html(section.body)}
        if typed and section.pk in typed:
            shown |= conflict(section, typed[section.pk])
        sections.append(shown)
    context = {
        "postmortem": found,
        "incident": found.incident,
        "sections": sections,
        "other_facts": rest(found, blocks),
        "may_write": may_write,
        "why_not_note": MAY_NOTE.why_not(found, by),
        "why_not": {move: why_not(found, move, by) for move in ("submit", "request_changes", "publish", "amend")},
        "revisions": found.revisions.select_related("by").order_by("-number"),
        "audience_form": AudienceForm(initial={"audience": found.audience}),
        "longest": LONGEST,
    }
    return render(request, "rollbacks/postmortem.html", context, status=409 if typed else 200)


def conflict(section: PostMortemSection, typed: str) -> dict[str, Any]:
    """Both texts, and where they differ; `html` is the preview of what was typed."""
    differing = list(postmortems.differences(section.body, typed))
    return {"typed": typed, "differing": differing, "overwritten": True, "html": as_html(typed)}


@require_POST
def begin(request: HttpRequest, pk: int) -> HttpResponse:
    get_object_or_404(Incident, pk=pk)
    return redirect(postmortems.begin(pk, by=request.user))  # type: ignore[arg-type]


@require_POST
def write(request: HttpRequest, pk: int) -> HttpResponse:
    """Autosave asks here after each pause in typing, and gets the preview; the button, without a script, the page."""
    section = get_object_or_404(PostMortemSection.objects.select_related("postmortem__incident"), pk=pk)
    form = SectionForm(request.POST)
    if not form.is_valid():
        raise MoveRefused(
            "The text was not saved: the page sent no version. Copy your words, and load it again.", section.postmortem
        )
    said = form.cleaned_data
    body = said["body"]
    version = said["version"] if said["over"] is None else said["over"]
    context: dict[str, Any] = {"version": said["version"]}
    try:
        section = postmortems.write(pk, by=request.user, body=body, version=version)  # type: ignore[arg-type]
        context |= {"version": section.version, "html": as_html(section.body)}
    except postmortems.Overwritten as error:
        section = error.section
        context |= conflict(section, body)
        if not request.htmx:  # type: ignore[attr-defined]
            return show(request, section.postmortem, {pk: body})
    except MoveRefused as error:
        if not request.htmx:  # type: ignore[attr-defined]
            raise
        context |= {"refused": str(error), "html": as_html(body[:LONGEST])}
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect(f"{section.postmortem.get_absolute_url()}#{section.key}")
    return render(request, "rollbacks/partials/written.html", {"section": section, **context})


@require_POST
def address(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(PostMortem, incident=pk)
    postmortems.address_to(found.pk, by=request.user, audience=request.POST.get("audience", ""))  # type: ignore[arg-type]
    return redirect(found)


@require_POST
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    section = get_object_or_404(PostMortemSection.objects.select_related("postmortem"), pk=pk)
    text = note_of(request, section.postmortem)
    postmortems.comment(pk, by=request.user, text=text)  # type: ignore[arg-type]
    return redirect(f"{section.postmortem.get_absolute_url()}#{section.key}")


@require_POST
def resolve_comment(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Comment.objects.select_related("section__postmortem"), pk=pk)
    postmortems.resolve_comment(pk, by=request.user)  # type: ignore[arg-type]
    return redirect(f"{found.section.postmortem.get_absolute_url()}#{found.section.key}")


def note_of(request: HttpRequest, found: PostMortem) -> str:
    form = NoteForm(request.POST)
    if not form.is_valid():
        raise MoveRefused("The note was not taken: at most 4000 characters are kept.", found)
    return str(form.cleaned_data["note"])


def verb(act: Callable[..., PostMortem], said: str) -> Callable[[HttpRequest, int], HttpResponse]:
    """A POST-only view for one move, with the note that was typed beside its button."""

    @require_POST
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        found = get_object_or_404(PostMortem, incident=pk)
        found = act(found.pk, by=request.user, note=note_of(request, found))
        messages.success(request, f"{found} {said}.")
        return redirect(found)

    return view


submit = verb(postmortems.submit, "is submitted: somebody who did not write in it reviews and publishes it")
request_changes = verb(postmortems.request_changes, "is a draft again, with your words in the incident's timeline")
publish = verb(actions.publish_postmortem, "is published")
amend = verb(postmortems.amend, "can be written in again; the published revision stays readable")


# --- reading --------------------------------------------------------------------------------------------------------


@require_GET
def revision(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """One revision as it was, and what it changed."""
    found = get_object_or_404(
        Revision.objects.select_related("postmortem__incident", "by"), postmortem__incident=pk, number=number
    )
    before = Revision.objects.filter(postmortem=found.postmortem, number=number - 1).first()
    old = {each["key"]: each["body"] for each in before.sections} if before else {}
    sections = []
    for each in found.sections:
        changes = list(postmortems.differences(old.get(each["key"], ""), each["body"]))
        sections.append({**each, "html": as_html(each["body"]), "changes": changes})
    context = {"revision": found, "before": before, "sections": sections, "incident": found.postmortem.incident}
    return render(request, "rollbacks/postmortem_revision.html", context)


@require_GET
def print_page(request: HttpRequest, pk: int) -> HttpResponse:
    """The text and the facts, and nothing to press: one column for A4."""
    found = get_object_or_404(PostMortem.objects.select_related("incident", "published_by"), incident=pk)
    blocks = facts_of(found)
    sections = [
        {"title": title, "html": as_html(body), "facts": [block for block in blocks if block.section == key]}
        for key, title, body in text_of(found)
    ]
    context = {
        "postmortem": found,
        "incident": found.incident,
        "sections": sections,
        "other_facts": rest(found, blocks),
    }
    return render(request, "rollbacks/postmortem_print.html", context)


@require_GET
def export(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(PostMortem.objects.select_related("incident"), incident=pk)
    blocks = facts_of(found)
    parts = [f"# Post-mortem: {found.incident.title}", f"{found.incident}, {found.get_state_display().lower()}"]
    for key, title, body in text_of(found):
        parts += [f"## {title}", body.strip()]
        parts += [as_markdown(block) for block in blocks if block.section == key]
    parts += [as_markdown(block) for block in rest(found, blocks)]
    name = f"post-mortem-{found.incident_id}.md"
    return HttpResponse(
        "\n\n".join(part for part in parts if part) + "\n",
        content_type="text/markdown; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def facts_of(found: PostMortem) -> list[Block]:
    return facts(found.incident, public=found.audience == PostMortem.Audience.PUBLIC)


def text_of(found: PostMortem) -> list[tuple[str, str, str]]:
    return [(each.key, each.title, each.body) for each in found.sections.all()]


def rest(found: PostMortem, blocks: list[Block]) -> list[Block]:
    """Facts whose section the templates no longer have."""
    keys = {key for key, _, _ in text_of(found)}
    return [block for block in blocks if block.section not in keys]
