"""What people do about being on call: take a time over, swap shifts, say when they are away."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Prefetch
from django.utils import timezone

from incidents.actions import check
from incidents.calendars import Entry
from incidents.models import Absence, EmergencyContact, Override, PrivateAddress, Rotation, Turn
from incidents.models.source import hashed
from incidents.on_call import Shift, now_and_next, shifts
from portal.ledger.models import record
from portal.ledger.moves import MoveRefused
from portal.ledger.roles import EVERYBODY_AT_WORK, Person, Role, at_least, called

MAY_CHANGE = at_least(Role.ENGINEER)
MAY_VERIFY = EVERYBODY_AT_WORK
AHEAD = timedelta(weeks=4)


# --- who ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duty:
    """A shift of a rotation, with the person's record."""

    rotation: Rotation
    shift: Shift
    person: User | None

    @property
    def name(self) -> str:
        return called(self.person) if self.person else f"Nobody: {self.shift.why}"


@dataclass(frozen=True)
class Watch:
    """A rotation now, next, and ahead."""

    rotation: Rotation
    now: Duty
    following: Duty | None
    ahead: list[Duty]


def rotations() -> list[Rotation]:
    """All of them, with everything that decides, in a handful of queries."""
    people = User.objects.prefetch_related("absences")
    turns = Prefetch("turns", Turn.objects.prefetch_related(Prefetch("person", people)))
    recent = Override.objects.filter(ends_at__gt=timezone.now() - 2 * AHEAD).prefetch_related(
        Prefetch("person", people)
    )  # fmt: skip
    return list(Rotation.objects.prefetch_related(turns, Prefetch("overrides", recent)))


def watches(at: datetime | None = None) -> list[Watch]:
    at = at or timezone.now()
    found = []
    for rotation in rotations():
        plan = rotation.plan()
        people = people_of(rotation)
        now, following = now_and_next(plan, at)
        line = [duty(rotation, shift, people) for shift in shifts(plan, at, at + AHEAD)]
        found.append(
            Watch(
                rotation,
                duty(rotation, now, people),
                duty(rotation, following, people) if following else None,
                line,
            )
        )
    return found


def people_of(rotation: Rotation) -> dict[int, User]:
    people = [each.person for each in rotation.turns.all()] + [each.person for each in rotation.overrides.all()]
    return {each.pk: each for each in people}


def duty(rotation: Rotation, shift: Shift, people: dict[int, User]) -> Duty:
    return Duty(rotation, shift, people[shift.who] if shift.who is not None else None)


def entries_of(person: User, at: datetime) -> list[Entry]:
    """A person's shifts for their calendar: four weeks back, half a year ahead."""
    return [
        Entry(f"{rotation.pk}-{shift.start:%Y%m%dT%H%M}@portal", shift.start, shift.end, f"On call: {rotation.name}")
        for rotation in rotations()
        for shift in shifts(rotation.plan(), at - AHEAD, at + timedelta(weeks=26))
        if shift.who == person.pk
    ]


# --- changes --------------------------------------------------------------------------------------------------------


@transaction.atomic
def take_over(
    *, by: Person, rotation: Rotation, person: User, start: datetime, end: datetime, note: str = ""
) -> Override:
    """Raises MoveRefused, NotAllowed."""
    check(MAY_CHANGE, by, "change who is on call")
    assert by is not None
    if start >= end:
        raise MoveRefused("It ends before it begins: nothing was changed.")
    if end <= timezone.now():
        raise MoveRefused("That time is over: nothing was changed.")
    made = Override.objects.create(
        rotation=rotation, person=person, starts_at=start, ends_at=end, note=note, made_by=by
    )  # fmt: skip
    record(rotation, "override", by=by, note=note, person=called(person), start=start, end=end)
    return made


@transaction.atomic
def swap(*, by: Person, rotation: Rotation, one: datetime, other: datetime) -> tuple[Override, Override]:
    """The shifts at these two instants change their people, where not over. Raises MoveRefused, NotAllowed."""
    check(MAY_CHANGE, by, "swap shifts")
    line = next(each.ahead for each in watches() if each.rotation == rotation)
    first, second = shift_at(line, one), shift_at(line, other)
    if first.person == second.person:
        raise MoveRefused(f"Both shifts are {first.name}'s: nothing was changed.")
    return cover(by, first, second), cover(by, second, first)


def shift_at(line: list[Duty], at: datetime) -> Duty:
    at = max(at, line[0].shift.start)
    found = next((each for each in line if each.shift.start <= at < each.shift.end), None)
    if found is None or found.person is None:
        raise MoveRefused("One of the two shifts is nobody's now: nothing was changed. Look again.")
    return found


def cover(by: Person, shift: Duty, other: Duty) -> Override:
    assert other.person is not None
    start, end = shift.shift.start, shift.shift.end
    return take_over(by=by, rotation=shift.rotation, person=other.person, start=start, end=end, note="swap")


@transaction.atomic
def bring_absences(*, by: User, entries: list[Entry]) -> int:
    """A person's own; what a second upload has again is renewed. Raises NotAllowed."""
    check(MAY_CHANGE, by, "bring absences")
    for entry in entries:
        Absence.objects.update_or_create(
            person=by,
            uid=entry.uid or f"{entry.start:%Y%m%dT%H%M}",
            starts_at=entry.start,
            defaults={"ends_at": entry.end, "summary": entry.summary},
        )
    record(by, "bring absences", by=by, count=len(entries))
    return len(entries)


@transaction.atomic
def new_address(*, by: User) -> str:
    """A person's token, which is nowhere kept; the one before it ends."""
    token = secrets.token_urlsafe(32)
    PrivateAddress.objects.update_or_create(
        person=by, defaults={"token_hash": hashed(token), "made_at": timezone.now()}
    )
    record(by, "new calendar address", by=by)
    return token


def owner_of(token: str) -> User | None:
    """Found by its hash, so that no comparison says how much of a token was right."""
    found = PrivateAddress.objects.select_related("person").filter(token_hash=hashed(token), person__is_active=True)
    address = found.first()
    return address.person if address else None


@transaction.atomic
def verify_contact(pk: int, *, by: Person) -> EmergencyContact:
    """Somebody has tried it: it answers. Raises NotAllowed."""
    check(MAY_VERIFY, by, "verify a contact")
    contact = EmergencyContact.objects.select_for_update(of=("self",)).get(pk=pk)
    verified(contact, by)
    return contact


def verified(contact: EmergencyContact, by: Person, note: str = "") -> None:
    contact.verified_on = timezone.localdate()
    contact.save()
    record(contact, "verify", by=by, note=note)
