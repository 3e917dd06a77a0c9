"""The people's moves on a post-mortem. The words are written by many hands at once, so each save says which version it
began from; what was submitted or published is kept as a whole, for good."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from itertools import islice

from django.db import transaction
from django.utils import timezone

from incidents.actions import MAY_NOTE, check, check_assigned, tell
from incidents.models import (
    Comment,
    Incident,
    IncidentState,
    PostMortem,
    PostMortemSection,
    PostMortemState,
    Revision,
    SectionTemplate,
    Severity,
    TimelineEntry,
    Waiver,
)
from incidents.models.postmortem import PUBLISHER
from incidents.prose import LONGEST
from portal.ledger.models import record
from portal.ledger.moves import MoveRefused, NotAllowed, advance, born
from portal.ledger.roles import Person, Role, at_least, called

MAY_WAIVE = at_least(Role.TECH_LEAD)
WAIVABLE = [Severity.MEDIUM, Severity.LOW]
SECTIONS = [  # (key, title, the question that it answers)
    ("summary", "Summary", "What happened, to whom, for how long, and what ended it? Three sentences."),
    ("impact", "Impact", "What could users not do? The measured downtime is shown by itself."),
    ("timeline", "Timeline", "What do the recorded lines not tell: what people saw, believed and decided?"),
    ("causes", "Contributing factors", "What had to come together? It becomes the log's Root Cause."),
    ("well", "What went well", "What should stay as it is?"),
    ("badly", "What went badly", "What cost time, or made it worse?"),
    ("luck", "Where luck helped", "What could as well have gone the other way?"),
    ("prevention", "Prevention", "What keeps it from happening again? It becomes the log's Prevention."),
    ("actions", "Action items", "Why these, and not others? The items themselves are listed below."),
]


class Overwritten(Exception):
    """Somebody saved the section since this text was begun. `section` is as it is now; nothing was changed."""

    def __init__(self, section: PostMortemSection) -> None:
        super().__init__(f"{called(section.saved_by)} saved “{section}” meanwhile.")
        self.section = section


def seed_sections() -> None:
    """The usual sections, where no others were made."""
    if not SectionTemplate.objects.exists():
        SectionTemplate.objects.bulk_create(
            SectionTemplate(key=key, title=title, hint=hint, order=number)
            for number, (key, title, hint) in enumerate(SECTIONS, 1)
        )


@transaction.atomic
def begin(incident_pk: int, *, by: Person) -> PostMortem:
    """The post-mortem of an incident: a new one, or the one that is there."""
    check(MAY_NOTE, by, "begin a post-mortem")
    incident = Incident.objects.locked(incident_pk)
    found = PostMortem.objects.filter(incident=incident).first()
    if found is not None:
        return found
    if incident.state == IncidentState.CANCELLED:
        raise MoveRefused(f"{incident} was a false alarm: there is nothing to look back on.", incident)
    seed_sections()
    assert by is not None
    made = PostMortem.objects.create(incident=incident, begun_by=by)
    made.authors.add(by)
    PostMortemSection.objects.bulk_create(
        PostMortemSection(postmortem=made, key=each.key, title=each.title, hint=each.hint, order=each.order)
        for each in SectionTemplate.objects.all()
    )
    born(made, "begin", by=by)
    tell(incident, by, TimelineEntry.Kind.MOVE, f"{called(by)} began the post-mortem.", made.get_absolute_url())
    return made


# --- writing --------------------------------------------------------------------------------------------------------


@transaction.atomic
def write(section_pk: int, *, by: Person, body: str, version: int) -> PostMortemSection:
    """Save one section, from the version on which the writer began. Raises Overwritten, MoveRefused, NotAllowed.

    No ledger row for each pause in typing: the ledger gets the digest of the whole text when it is submitted.
    """
    check(MAY_NOTE, by, "write in a post-mortem")
    section = PostMortemSection.objects.select_related("saved_by").get(pk=section_pk)
    postmortem = PostMortem.objects.locked(section.postmortem_id)
    section = PostMortemSection.objects.select_related("saved_by").get(pk=section_pk)
    body = body.replace("\x00", "").replace("\r\n", "\n")
    if postmortem.state != PostMortemState.DRAFT:
        raise MoveRefused(
            f"{postmortem} is {postmortem.get_state_display().lower()}: its text is not changed now. Copy your words, "
            "and request changes (in review) or amend it (published).",
            postmortem,
        )
    if len(body) > LONGEST:
        raise MoveRefused(f"“{section}” has {len(body)} characters: at most {LONGEST} are kept.", postmortem)
    if body == section.body:
        return section
    if version != section.version:
        raise Overwritten(section)
    section.body, section.version = body, section.version + 1
    section.saved_by, section.saved_at = by, timezone.now()
    section.save()
    assert by is not None
    postmortem.authors.add(by)
    return section


@transaction.atomic
def address_to(pk: int, *, by: Person, audience: str) -> PostMortem:
    """Internal or public: decides which facts show."""
    check(MAY_NOTE, by, "change the audience of a post-mortem")
    postmortem = PostMortem.objects.locked(pk)
    if audience not in PostMortem.Audience.values:
        raise MoveRefused("A post-mortem is internal or public.", postmortem)
    if postmortem.state != PostMortemState.DRAFT:
        raise MoveRefused(f"{postmortem} is no draft: who it is for is decided before it is reviewed.", postmortem)
    before, postmortem.audience = postmortem.audience, audience
    postmortem.save()
    record(postmortem, "address", by=by, before=before, audience=audience)
    return postmortem


@transaction.atomic
def comment(section_pk: int, *, by: Person, text: str) -> Comment:
    check(MAY_NOTE, by, "comment on a post-mortem")
    section = PostMortemSection.objects.select_related("postmortem").get(pk=section_pk)
    postmortem = PostMortem.objects.locked(section.postmortem_id)
    if not text.strip():
        raise MoveRefused("The comment is empty: say what is missing, wrong or unclear.", postmortem)
    if postmortem.state == PostMortemState.PUBLISHED:
        raise MoveRefused(f"{postmortem} is published: amend it, and comment then.", postmortem)
    assert by is not None
    made = Comment.objects.create(section=section, by=by, text=text.strip())
    record(postmortem, "comment", by=by, note=made.text, section=section.key)
    return made


@transaction.atomic
def resolve_comment(pk: int, *, by: Person) -> Comment:
    check(MAY_NOTE, by, "resolve a comment")
    found = Comment.objects.select_related("section", "resolved_by").get(pk=pk)
    postmortem = PostMortem.objects.locked(found.section.postmortem_id)
    found = Comment.objects.select_related("section", "resolved_by").get(pk=pk)
    if found.resolved_at is not None:
        raise MoveRefused(f"The comment was resolved by {called(found.resolved_by)} already.", postmortem)
    found.resolved_by, found.resolved_at = by, timezone.now()
    found.save()
    record(postmortem, "resolve comment", by=by, note=found.text, section=found.section.key)
    return found


# --- from draft to published ----------------------------------------------------------------------------------------


@transaction.atomic
def submit(pk: int, *, by: Person, note: str = "") -> PostMortem:
    postmortem = PostMortem.objects.locked(pk)
    revision = keep(postmortem, Revision.Kind.SUBMITTED, by)
    advance(postmortem, "submit", by=by, note=note, digest=revision.digest)
    say(postmortem, by, f"submitted the post-mortem for review. {note}")
    return postmortem


@transaction.atomic
def request_changes(pk: int, *, by: Person, note: str) -> PostMortem:
    postmortem = PostMortem.objects.locked(pk)
    if not note.strip() and postmortem.state == PostMortemState.IN_REVIEW:
        raise MoveRefused("Say what has to change: the author has only your words to go by.", postmortem)
    advance(postmortem, "request_changes", by=by, note=note)
    say(postmortem, by, f"requested changes to the post-mortem: {note}")
    return postmortem


@transaction.atomic
def publish(pk: int, *, by: Person, note: str = "") -> PostMortem:
    """By somebody who did not write in it. Whoever calls this carries its words on into the rollback log."""
    postmortem = PostMortem.objects.locked(pk)
    if postmortem.state == PostMortemState.IN_REVIEW:
        check_assigned(postmortem.incident, f"{postmortem} is not published yet")
    revision = keep(postmortem, Revision.Kind.PUBLISHED, by)
    postmortem.published_by = by
    advance(postmortem, "publish", by=by, note=note, digest=revision.digest)
    say(postmortem, by, f"published the post-mortem. {note}")
    return postmortem


@transaction.atomic
def amend(pk: int, *, by: Person, note: str) -> PostMortem:
    postmortem = PostMortem.objects.locked(pk)
    if not note.strip() and postmortem.state == PostMortemState.PUBLISHED:
        raise MoveRefused("Say why it is amended: its readers knew it as finished.", postmortem)
    advance(postmortem, "amend", by=by, note=note)
    say(postmortem, by, f"began an amendment of the post-mortem: {note}")
    return postmortem


@transaction.atomic
def waive(incident_pk: int, *, by: Person, note: str) -> Waiver:
    """Medium and Low only, by a Tech Lead, with a reason."""
    incident = Incident.objects.select_related("acknowledged_by").get(pk=incident_pk)
    if reason := why_not_waive(incident, by):
        raise NotAllowed(f"{called(by)} cannot waive the post-mortem of {incident}: {reason}.")
    incident = Incident.objects.locked(incident_pk)
    if incident.state in (IncidentState.CLOSED, IncidentState.CANCELLED):
        raise MoveRefused(f"{incident} is {incident.get_state_display().lower()}: it waits for no waiver.", incident)
    if incident.severity not in WAIVABLE:
        raise MoveRefused(f"{incident} is {incident.get_severity_display()}: its post-mortem is not waived.", incident)
    found = Waiver.objects.filter(incident=incident).select_related("by").first()
    if found is not None:
        raise MoveRefused(f"The post-mortem of {incident} was waived by {called(found.by)} already.", incident)
    if not note.strip():
        raise MoveRefused("Say why nothing is to be learned from it.", incident)
    assert by is not None
    waiver = Waiver.objects.create(incident=incident, by=by, reason=note.strip())
    record(incident, "waive", by=by, note=waiver.reason)
    tell(incident, by, TimelineEntry.Kind.MOVE, f"{called(by)} waived the post-mortem. {waiver.reason}")
    return waiver


def why_not_waive(incident: Incident, person: Person) -> str:
    return MAY_WAIVE.why_not(incident, person)


def why_not_publish(postmortem: PostMortem, person: Person) -> str:
    """ "" or why this person is not the one to publish it, whatever else is missing."""
    return PUBLISHER.why_not(postmortem, person)


def say(postmortem: PostMortem, by: Person, words: str) -> None:
    tell(
        postmortem.incident,
        by,
        TimelineEntry.Kind.MOVE,
        f"{called(by)} {words}".strip(),
        postmortem.get_absolute_url(),
    )


# --- revisions ------------------------------------------------------------------------------------------------------


def keep(postmortem: PostMortem, kind: str, by: Person) -> Revision:
    """The whole text as it stands, for good. (Undone with the move, when that is refused.)"""
    check(MAY_NOTE, by, f"move {postmortem}")
    sections = [{"key": each.key, "title": each.title, "body": each.body} for each in postmortem.sections.all()]
    text = json.dumps(sections, ensure_ascii=False)
    assert by is not None
    return Revision.objects.create(
        postmortem=postmortem,
        number=postmortem.revisions.count() + 1,
        kind=kind,
        by=by,
        sections=sections,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def differences(before: str, after: str) -> Iterator[tuple[str, str]]:
    """(what happened, the line): "gone", "came" or "same"; only the lines near a change."""
    marks = {"-": "gone", "+": "came", " ": "same"}
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    for line in islice(lines, 2, None):  # without the two names
        if not line.startswith("@@"):
            yield marks[line[0]], line[1:]
