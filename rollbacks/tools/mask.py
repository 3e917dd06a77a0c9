"""Secrets never reach a log, a page or the database: what a machine said is masked before it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

HIDDEN = "•••"
SHORTEST = 6  # characters: a shorter value would hide innocent words
HELD_BACK = 4096  # characters kept until the line is whole
WORDS = "passwd|password|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential"
KEY = rf"(?:[A-Za-z0-9_.-]*(?:{WORDS})[A-Za-z0-9_.-]*)"
PATTERNS = re.compile(
    rf"(?P<url>\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)"
    rf"|(?P<bearer>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{{8,}}"
    rf"|(?P<pair>[\"']?\b{KEY}[\"']?\s*[=:]\s*[\"']?)(?!•)[^\s\"',;}}]+",
    re.IGNORECASE,
)


def looks_secret(key: str) -> bool:
    """Does a configuration key name something that must not be shown?"""
    return re.search(KEY, key, re.IGNORECASE) is not None


def from_env_files(paths: Iterable[Path]) -> list[str]:
    """Values of secret-looking keys in KEY=value files."""
    found = []
    for path in paths:
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                key, sign, value = line.removeprefix("export ").partition("=")
                if sign and looks_secret(key):
                    found.append(value.strip().strip("\"'"))
    return found


class Masker:
    """masker(text) -> the same text with every known secret, and all that looks like one, replaced."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)
        self.known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self.known is not None:
            text = self.known.sub(HIDDEN, text)
        return PATTERNS.sub(lambda found: f"{found[found.lastgroup or 0]}{HIDDEN}", text)


class Stream:
    """Masks a stream in whole lines, so that a secret cut in two by a chunk's end is still seen."""

    def __init__(self, masker: Masker) -> None:
        self.masker, self.rest = masker, ""

    def feed(self, text: str) -> str:
        """What can be shown now."""
        text = self.rest + text
        end = text.rfind("\n") + 1
        if len(text) - end > HELD_BACK:
            end = len(text) - HELD_BACK // 2
        self.rest = text[end:]
        return self.masker(text[:end])

    def close(self) -> str:
        rest, self.rest = self.rest, ""
        return self.masker(rest)
