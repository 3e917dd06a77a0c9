"""What templates say everywhere in the same way (settings make these built in: no {% load %})."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.db.models import Model
from django.template.defaultfilters import linebreaksbr, urlize
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal import accounts
from portal.ledger import roles
from portal.ledger.moves import ago

register = template.Library()
NOTHING = "–"


# --- colour, shape and word -----------------------------------------------------------------------------------------


@register.filter
def state(obj: Any) -> SafeString:
    """Where a thing is in its life: {{ incident|state }}."""
    return word("state", obj, "state")


@register.filter
def health(obj: Any) -> SafeString:
    return word("state", obj, "health")


@register.filter
def severity(obj: Any) -> SafeString:
    return word("severity", obj, "severity")


def word(kind: str, obj: Any, field: str) -> SafeString:
    value = getattr(obj, field, "")
    if value in ("", None):
        return SafeString("")
    said = getattr(obj, f"get_{field}_display", lambda: value)()
    return format_html('<span class="{}" data-{}="{}">{}</span>', kind, kind, value, said)


# --- times and sizes ------------------------------------------------------------------------------------------------


@register.filter
def duration(seconds: float | None) -> str:
    """0.36 s, 4.2 s, 12 s, 3 min 20 s, 2 h 5 min; a dash when nothing was measured."""
    if seconds in (None, ""):
        return NOTHING
    seconds = float(seconds)
    if round(seconds, 2) < 1:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


@register.filter
def time_ago(when: datetime | None) -> SafeString | str:
    """ "5 min ago", "in 2 h"; live.js keeps it true while the page is open."""
    if not when:
        return NOTHING
    seconds = round((timezone.now() - when).total_seconds())
    return stamp(when, "ago", f"in {ago(-seconds)}" if seconds < 0 else f"{ago(seconds)} ago")


@register.filter
def clock(when: datetime | None) -> SafeString | str:
    """The date and time; in UTC as served, in the reader's zone once live.js has run."""
    return stamp(when, "clock", f"{when.astimezone(UTC):%-d %b %H:%M} UTC") if when else NOTHING


def stamp(when: datetime, form: str, said: str) -> SafeString:
    there = when.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-format="{}" title="{}">{}</time>',
        f"{there:%Y-%m-%dT%H:%M:%SZ}",
        form,
        f"{there:%Y-%m-%d %H:%M:%S} UTC",
        said,
    )


@register.filter
def size(count: int | None) -> str:
    """Bytes, as 812 B, 4.2 kB, 31 MB."""
    if count in (None, ""):
        return NOTHING
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"


# --- people and words -----------------------------------------------------------------------------------------------


@register.filter
def called(user: Any) -> str:
    return roles.called(user)


@register.filter
def titles(user: Any) -> str:
    """A person's roles: "Tech Lead and DevOps"."""
    return roles.titles(user)


@register.filter(needs_autoescape=False)
def lines(text: str) -> SafeString:
    """What a person wrote: escaped, with its line breaks, and its addresses as links."""
    return linebreaksbr(urlize(text, autoescape=True), autoescape=False)


# --- where we are ---------------------------------------------------------------------------------------------------


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


@register.filter
def page_url(obj: Model | None) -> str:
    """The page of a thing, or "" when it has none."""
    return str(obj.get_absolute_url()) if obj is not None and hasattr(obj, "get_absolute_url") else ""
