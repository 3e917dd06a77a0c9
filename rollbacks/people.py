"""Who can decide now, and how to reach them: the answer to "why can't I approve?"."""

from __future__ import annotations

from dataclasses import dataclass

from incidents.models import EmergencyContact
from portal.ledger.moves import transitions, who_may, why_not
from portal.ledger.roles import Person, called, holders, titles
from rollbacks.models import Rollback


@dataclass(frozen=True)
class Approver:
    name: str
    role: str
    reach: list[str]  # phone, mail, chat, in the order to try them


def approvers(rollback: Rollback) -> list[Approver]:
    """The active people who may vote on it, with their contact details; the requester only under the Immediate rule."""
    people = holders(rollback.rule.role).prefetch_related("groups", "contacts")
    if not rollback.is_immediate:
        people = people.exclude(pk=rollback.requested_by_id)
    return [Approver(called(person), titles(person), ways(person.contacts.all(), person.email)) for person in people]


def ways(contacts: list[EmergencyContact], email: str) -> list[str]:
    known = [way for contact in contacts for way in (contact.phone, contact.email, contact.chat) if way]
    return list(dict.fromkeys([*known, *([email] if email else [])]))


@dataclass(frozen=True)
class Button:
    """One move on a page: what it would do, and why this person may not (then it is shown, and does nothing)."""

    move: str
    label: str
    why_not: str
    note: str = ""  # the question that the note answers; "" when no note is asked
    needs_note: bool = False
    danger: bool = False


BUTTONS = {
    "approve": ("Approve", "Note (optional)", False, False),
    "reject": ("Reject", "Why?", True, False),
    "override": ("Override the approval", "Why can it not wait?", True, True),
    "cancel": ("Cancel the request", "Note (optional)", False, False),
    "abort": ("Abort and put everything back", "Why?", True, True),
    "complete": ("Complete early", "Why can the watch end?", True, False),
    "resume": ("Resume", "What did you do or find?", True, False),
    "revert": ("Undo everything", "What did you do or find?", True, True),
    "settle": ("Settle: finished by hand", "What was done by hand?", True, False),
}


def buttons(rollback: Rollback, person: Person) -> list[Button]:
    """The people's moves that lead out of its present state, each with the reason why this person may not make it."""
    leaving = {each.name for each in transitions(Rollback) if each.source == rollback.state}
    return [
        Button(move, label, reason(rollback, move, person), note, needs, danger)
        for move, (label, note, needs, danger) in BUTTONS.items()
        if move in leaving
    ]


def reason(rollback: Rollback, move: str, person: Person) -> str:
    """Approving is voting: that votes are still missing is no reason against it."""
    if move == "approve":
        plan = rollback.plan_now
        if plan is not None and person is not None and plan.approvals.filter(voter=person).exists():
            return "you have voted on this plan already"
        return who_may(rollback, "approve").why_not(rollback, person)
    return why_not(rollback, move, person)
