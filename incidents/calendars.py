"""iCalendar: a person's shifts out, and the times at which they are away in. No database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event

EVENTS = 500  # of one file


class BadCalendar(Exception):
    """The words say what is wrong, and with which event."""


@dataclass(frozen=True)
class Entry:
    uid: str
    start: datetime
    end: datetime
    summary: str


def written(entries: Iterable[Entry], now: datetime) -> bytes:
    calendar = Calendar()
    calendar.add("prodid", "-//Incident and rollback portal//On call//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "On call")
    for entry in entries:
        event = Event()
        event.add("uid", entry.uid)
        event.add("dtstamp", now)
        event.add("dtstart", entry.start)
        event.add("dtend", entry.end)
        event.add("summary", entry.summary)
        calendar.add_component(event)
    return bytes(calendar.to_ical())


def read(content: bytes, zone: ZoneInfo) -> list[Entry]:
    """The events of a file; what names no zone is in `zone`. Raises BadCalendar, and then nothing of it counts."""
    try:
        calendar = Calendar.from_ical(content)
        events = list(calendar.walk("VEVENT"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise BadCalendar("This is no calendar file (.ics): it cannot be read.") from error
    if not events:
        raise BadCalendar("There is no event in this file.")
    if len(events) > EVENTS:
        raise BadCalendar(f"There are {len(events)} events in this file; {EVENTS} is the most that is read at once.")
    return [entry_of(event, zone) for event in events]


def entry_of(event: Any, zone: ZoneInfo) -> Entry:
    summary = str(event.get("summary", "")).strip()[:200]
    said = f"The event “{summary or 'without a title'}”"
    if event.get("rrule") or event.get("rdate"):
        raise BadCalendar(f"{said} repeats, which is not understood. Export it as single events.")
    try:
        start = event.decoded("dtstart")
        end = event.decoded("dtend", None) or start + event.decoded("duration", default_length(start))
        begins, ends = instant(start, zone), instant(end, zone)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadCalendar(f"{said} has no beginning and end that can be understood.") from error
    if begins >= ends:
        raise BadCalendar(f"{said} ends before it begins.")
    return Entry(str(event.get("uid", ""))[:200], begins, ends, summary)


def default_length(start: date) -> timedelta:
    """A day without an end is one day; an instant without an end has no length (and is refused)."""
    return timedelta() if isinstance(start, datetime) else timedelta(days=1)


def instant(value: date, zone: ZoneInfo) -> datetime:
    at = value if isinstance(value, datetime) else datetime.combine(value, time())
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
