"""What templates say everywhere in the same way (settings make these built in: no {% load %})."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from string import hexdigits
from typing import Any

from django import template
from django.template.defaultfilters import linebreaksbr, urlize
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal import accounts
from portal.ledger import moves, roles
from rollbacks import actions as rollbacks
from rollbacks.tools import mask

register = template.Library()
NOTHING = "–"


# --- colour, shape and word -----------------------------------------------------------------------------------------


@register.filter
def badge(value: object, label: object = "") -> SafeString:
    """A state in words; the stylesheet adds its shape and its colour: {{ point.state|badge:"Bad" }}."""
    if value in ("", None):
        return SafeString("")
    return format_html('<span class="state" data-state="{}">{}</span>', value, label or str(value).capitalize())


@register.filter
def state(obj: Any) -> SafeString:
    """Where a thing is in its life: {{ incident|state }}."""
    return word(obj, "state")


@register.filter
def health(obj: Any) -> SafeString:
    return word(obj, "health")


@register.filter
def severity(obj: Any) -> SafeString:
    return word(obj, "severity")


def word(obj: Any, field: str) -> SafeString:
    value = getattr(obj, field, "")
    return badge(value, getattr(obj, f"get_{field}_display", lambda: "")())


@register.filter
def masked(text: str) -> str:
    """An address or a command of a manifest, without the passwords in it."""
    return mask.hide(text)


# --- times and sizes ------------------------------------------------------------------------------------------------


@register.filter
def duration(seconds: float | str | None) -> str:
    """0.36 s, 4.2 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; a dash when nothing was measured."""
    try:
        total = max(0.0, float(seconds))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return NOTHING
    if round(total, 2) < 1:
        return f"{total:.2f}".rstrip("0").rstrip(".") + " s"
    if round(total, 1) < 10:
        return f"{total:.1f}".removesuffix(".0") + " s"
    whole = round(total)
    for big, small, names in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {names[0]} {rest} {names[1]}" if rest else f"{whole // big} {names[0]}"
    return f"{whole} s"


@register.filter
def size(count: float | str | None) -> str:
    """Bytes, as 812 B, 4.2 kB, 31 MB."""
    try:
        amount = float(count)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return NOTHING
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.5 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 9.95 else f"{amount:.1f} {unit}"


def instant(value: object) -> datetime | None:
    """A datetime or an ISO text, as an instant in UTC; None when it is neither."""
    if isinstance(value, str):
        try:
            value = parse_datetime(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def stamp(at: datetime, form: str, said: str) -> SafeString:
    """The UTC time on hover; live.js writes the text in the reader's zone, and keeps "ago" true."""
    return format_html(
        '<time datetime="{}" data-format="{}" title="{}">{}</time>',
        f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        form,
        f"{at:%Y-%m-%d %H:%M:%S} UTC",
        said,
    )


@register.filter("time_ago")
@register.filter("ago")
def ago(value: object) -> SafeString | str:
    """ "now", "5 min ago", "in 2 h"."""
    if (at := instant(value)) is None:
        return NOTHING
    seconds = round((timezone.now() - at).total_seconds())
    said = moves.ago(abs(seconds))
    return stamp(at, "ago", "now" if seconds == 0 else f"{said} ago" if seconds > 0 else f"in {said}")


@register.filter
def lasting(value: object) -> SafeString | str:
    """For how long something has been so: "for 5 min"."""
    if (at := instant(value)) is None:
        return NOTHING
    seconds = max(0, round((timezone.now() - at).total_seconds()))
    return stamp(at, "lasting", f"for {moves.ago(seconds)}" if seconds else "just now")


@register.filter
def elapsed(value: object) -> SafeString | str:
    """How long something has been running; live.js counts on."""
    if (at := instant(value)) is None:
        return NOTHING
    return stamp(at, "elapsed", duration(max(0, round((timezone.now() - at).total_seconds()))))


@register.filter
def clock(value: object) -> SafeString | str:
    """The time of day; with the day when it is not today's."""
    if (at := instant(value)) is None:
        return NOTHING
    today = at.date() == timezone.now().astimezone(UTC).date()
    return stamp(at, "clock", f"{at:%H:%M:%S} UTC" if today else f"{at:%-d %b %H:%M} UTC")


@register.filter
def moment(value: object) -> SafeString | str:
    at = instant(value)
    return stamp(at, "moment", f"{at:%-d %b %Y, %H:%M} UTC") if at else NOTHING


@register.filter
def fact(cell: object) -> SafeString | str:
    """A cell of a block of facts: an instant, a length of time, or words."""
    if isinstance(cell, timedelta):
        return duration(cell.total_seconds())
    return clock(cell) if isinstance(cell, datetime) else str(cell)


# --- people and words -----------------------------------------------------------------------------------------------


@register.filter
def called(user: Any) -> str:
    return roles.called(user)


@register.filter
def titles(user: Any) -> str:
    """A person's roles: "Tech Lead and DevOps"."""
    return roles.titles(user)


@register.filter
def short(sha: object) -> str:
    return str(sha or "")[:10]


@register.filter
def aim(target: str) -> str:
    """Where a rollback goes back to: a commit in short, a name cut where it is very long."""
    if len(target) == 40 and set(target) <= set(hexdigits):
        return short(target)
    return target if len(target) <= 40 else f"{target[:39]}…"


DEEDS = {"break": "broken on purpose", "pin": "pinned", "unpin": "unpinned", "mark bad": "marked bad",
         "mark good": "marked good", "vote approve": "voted for", "vote reject": "voted against",
         "withdraw": "tick withdrawn", "ask to verify": "asked to be read back", "add": "added",
         "change": "changed"}  # fmt: skip


@register.filter
def past(move: str) -> str:
    """approved, put on hold; and the deeds that are no transition."""
    return DEEDS.get(move) or moves.past(move)


@register.filter(needs_autoescape=False)
def lines(text: str) -> SafeString:
    """What a person wrote: escaped, with its line breaks, and its addresses as links."""
    return linebreaksbr(urlize(text, autoescape=True), autoescape=False)


@register.simple_tag
def proposals(incident: Any) -> list[rollbacks.Proposal]:
    """The rollbacks that fit an incident: its page is below the floor that knows them."""
    return rollbacks.proposals(incident)


# --- the frame of every page ----------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def here(context: template.Context, *names: str) -> SafeString:
    """aria-current for a link of the navigation: {% here "overview" %}, or of a whole part: {% here "incidents:" %}."""
    match = getattr(context.get("request"), "resolver_match", None)
    name = match.view_name if match else ""
    current = any(name == wanted or (wanted.endswith(":") and name.startswith(wanted)) for wanted in names)
    return SafeString(' aria-current="page"') if current else SafeString("")


@register.simple_tag(takes_context=True)
def demo_accounts(context: template.Context) -> list[dict[str, str]]:
    request = context.get("request")
    return accounts.demo_accounts(request) if request else []
