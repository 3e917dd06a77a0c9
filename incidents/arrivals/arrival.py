"""One thing that a tool says: something burns, or is over. Whatever came is text of a stranger: it is cleaned of what
no reader sees, and cut to a length that a page can bear."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from typing import Any

LABELS = 40  # of one arrival; what comes after them is not kept
HIDDEN = {"Cc", "Cs", "Co", "Cn"}  # control characters, halves of characters, and what is no character
TURNING = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they show a text backwards


class NotUnderstood(Exception):
    """The message lacks what it needs; the words say what, for the person who sets the source up."""


@dataclass(frozen=True)
class Arrival:
    key: str  # what makes two messages the same trouble
    title: str
    summary: str = ""
    severity: str = ""  # in the tool's words
    labels: dict[str, str] = field(default_factory=dict)
    firing: bool = True  # False: it is over
    url: str = ""  # where the tool shows it


def arrival(
    *,
    key: str,
    title: str,
    summary: str = "",
    severity: str = "",
    labels: dict[str, str] | None = None,
    firing: bool = True,
    url: str = "",
) -> Arrival:
    """Clean, and cut. Raises NotUnderstood without a title."""
    title = clean(title, 200)
    if not title:
        raise NotUnderstood("The message has no title: nobody could tell what is wrong.")
    return Arrival(
        key=short_key(key or title),
        title=title,
        summary=clean(summary, 5000, lines=True),
        severity=clean(severity, 40).lower(),
        labels=labels or {},
        firing=firing,
        url=web_address(url),
    )


def clean(text: str, length: int, *, lines: bool = False) -> str:
    """Without what no reader sees; on one line unless `lines`; an ellipsis where it was cut."""
    seen = text[: length * 4].replace("\r\n", "\n").replace("\t", " ")
    kept = "".join(
        letter
        for letter in seen
        if letter == "\n" or (letter not in TURNING and unicodedata.category(letter) not in HIDDEN)
    )
    kept = kept.strip() if lines else " ".join(kept.split())
    return kept if len(kept) <= length else f"{kept[: length - 1]}…"


def short_key(key: str) -> str:
    """A key of any length, as one that an index holds; two different ones stay different."""
    plain = clean(key, 200)
    return plain if plain == key else hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def web_address(url: str) -> str:
    """ "" for anything that is no plain web address: it becomes a link."""
    url = clean(url, 501)
    return url if url.startswith(("https://", "http://")) and len(url) <= 500 and " " not in url else ""


# --- reading what may be anything -----------------------------------------------------------------------------------


def text(given: Any, *path: str) -> str:
    """The text (or number) at this path, "" when there is none."""
    for name in path:
        given = given.get(name) if isinstance(given, dict) else None
    return str(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else ""


def part(given: Any, *path: str) -> dict[str, Any]:
    """The object at this path, empty when there is none."""
    for name in path:
        given = given.get(name) if isinstance(given, dict) else None
    return given if isinstance(given, dict) else {}


def labels_of(*given: Any) -> dict[str, str]:
    """Flat names and texts of these objects; of two with the same name the last counts."""
    found = {}
    for each in given:
        for name in list(each)[:LABELS] if isinstance(each, dict) else []:
            if value := clean(text(each, name), 200):
                found[clean(str(name), 80)] = value
    return found
