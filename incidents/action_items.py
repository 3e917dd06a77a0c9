"""The moves on action items: what is still to be done after an incident or a rollback, by whom, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from incidents import notify
from incidents.actions import MAY_NOTE, check, tell
from incidents.models import TO_DO, ActionItem, EmergencyContact, Incident, TimelineEntry
from portal.ledger.models import record
from portal.ledger.moves import MoveRefused, advance, born
from portal.ledger.roles import Person, Role, called, roles_of

MAY_OWN = {Role.ENGINEER, Role.MANAGER}
TERMS = {
    ActionItem.Term.IMMEDIATE: timedelta(hours=1),
    ActionItem.Term.SHORT: timedelta(hours=24),
    ActionItem.Term.LONG: timedelta(weeks=1),
}


@dataclass(frozen=True)
class FollowUp:
    """One of the guide's Post-Rollback Actions."""

    key: str
    term: str
    title: str
    for_manager: bool = False  # the guide's Emergency Contacts: "Project Manager: Stakeholder communication"


FOLLOW_UPS = [  # the guide's section "Post-Rollback Actions", in its words
    FollowUp("verify", ActionItem.Term.IMMEDIATE, "Verify system stability"),
    FollowUp("document", ActionItem.Term.IMMEDIATE, "Document rollback details"),
    FollowUp("notify", ActionItem.Term.IMMEDIATE, "Notify stakeholders", for_manager=True),
    FollowUp("analyse", ActionItem.Term.IMMEDIATE, "Begin root cause analysis"),
    FollowUp("fix", ActionItem.Term.SHORT, "Identify and fix root cause"),
    FollowUp("branch", ActionItem.Term.SHORT, "Create fix branch"),
    FollowUp("test", ActionItem.Term.SHORT, "Test fix thoroughly"),
    FollowUp("plan", ActionItem.Term.SHORT, "Plan remediation deployment"),
    FollowUp("post-mortem", ActionItem.Term.LONG, "Conduct post-mortem"),
    FollowUp("procedures", ActionItem.Term.LONG, "Update procedures based on lessons learned"),
    FollowUp("testing", ActionItem.Term.LONG, "Improve testing to catch issue earlier"),
    FollowUp("documentation", ActionItem.Term.LONG, "Update documentation"),
]


@transaction.atomic
def follow_up(*, subject: str, url: str, incident: Incident | None, requester: User) -> list[ActionItem]:
    """The guide's actions after the rollback at `url`, each once, however often it is called."""
    now = timezone.now()
    lead = incident.acknowledged_by if incident and incident.acknowledged_by else requester
    contact = EmergencyContact.objects.filter(role=Role.MANAGER.value, person__is_active=True).first()
    manager = contact.person if contact else None
    made = []
    for each in FOLLOW_UPS:
        owner = manager if each.for_manager and manager else lead if each.key == "post-mortem" else requester
        item, is_new = ActionItem.objects.get_or_create(
            added_as=f"{url}{each.key}",
            defaults={
                "title": each.title,
                "term": each.term,
                "owner": owner,
                "due_at": now + TERMS[ActionItem.Term(each.term)],
                "incident": incident,
                "subject": subject[:200],
                "url": url,
            },
        )
        if is_new:
            born(item, "add", by=None, note=item.title, owner=called(owner))
            made.append(item)
    return made


@transaction.atomic
def add_item(
    *, incident_pk: int, by: Person, title: str, term: str, owner: User | None, due_at: datetime | None
) -> ActionItem:
    """An item may be written down before its owner is known; until then nothing is published or closed."""
    check(MAY_NOTE, by, "add an action item")
    incident = Incident.objects.locked(incident_pk)
    check_owner(owner, incident)
    item = ActionItem.objects.create(
        title=title.strip(), term=term, owner=owner, due_at=due_at, incident=incident, made_by=by
    )
    born(item, "add", by=by, note=item.title, owner=called(owner) if owner else "nobody yet")
    tell(incident, by, TimelineEntry.Kind.NOTE, f"To do: {item.title}", item.get_absolute_url())
    return item


@transaction.atomic
def change_item(
    pk: int, *, by: Person, title: str, term: str, owner: User | None, due_at: datetime | None
) -> ActionItem:
    """Another owner, another date: the ledger keeps what stood there before."""
    check(MAY_NOTE, by, "change an action item")
    item = ActionItem.objects.locked(pk)
    if not item.is_to_do:
        raise MoveRefused(f"{item} is {item.get_state_display().lower()}: it is not changed any more.", item)
    check_owner(owner, item)
    before = {"title": item.title, "term": item.term, "owner": called(item.owner) if item.owner else ""}
    before["due_at"] = str(item.due_at or "")
    if (item.owner, item.due_at) != (owner, due_at):
        notify.supersede(topic(item))
    item.title, item.term, item.owner, item.due_at = title.strip(), term, owner, due_at
    item.save()
    record(item, "change", by=by, before=before)
    return item


def check_owner(owner: User | None, obj: Incident | ActionItem) -> None:
    """Raises MoveRefused for somebody who could not do it."""
    if owner is not None and not MAY_OWN.intersection(roles_of(owner)):
        raise MoveRefused(f"{called(owner)} cannot own an action item: choose an Engineer or a Project Manager.", obj)


@transaction.atomic
def start(pk: int, *, by: Person, note: str = "") -> ActionItem:
    return moved(pk, "start", by, note)


@transaction.atomic
def finish(pk: int, *, by: Person, note: str = "") -> ActionItem:
    return moved(pk, "finish", by, note)


@transaction.atomic
def drop(pk: int, *, by: Person, note: str) -> ActionItem:
    return moved(pk, "drop", by, note)


def moved(pk: int, move: str, by: Person, note: str) -> ActionItem:
    item, note = ActionItem.objects.locked(pk), note.strip()
    if move == "drop" and not note and item.is_to_do:
        raise MoveRefused("Say why it is dropped: whoever asks for it later reads that.", item)
    if note:
        item.note = note
    advance(item, move, by=by, note=note)
    if not item.is_to_do:
        notify.supersede(topic(item))
    return item


def topic(item: ActionItem) -> str:
    """Of what is said about it while it is overdue."""
    return f"action-item-{item.pk}"


# --- lists ----------------------------------------------------------------------------------------------------------


def owned_by(person: User) -> QuerySet[ActionItem]:
    """What is still to be done by this person, the most urgent first."""
    items = ActionItem.objects.filter(owner=person, state__in=TO_DO).select_related("owner", "incident")
    return items.order_by("due_at", "pk")
