"""Secrets never reach a log, a page or the database: what a machine said is masked before it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

HIDDEN = "•••"
SHORTEST = 6  # characters: a shorter value would hide innocent words
HELD_BACK = 4096  # characters kept until the line is whole
LONGEST = 16 * HELD_BACK  # characters of one secret that are kept while its end is awaited
WORDS = "passwd|password|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential"
VALUE = r"""(?!•)(?:"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|\S+)"""  # too much is better than too little
PATTERNS = re.compile(
    rf"(?P<url>\b[a-z][a-z0-9+.-]{{0,40}}://[^/\s:@]*:)[^/\s@]+(?=@)"
    rf"|(?P<auth>\bauthorization[\\\"']*[ \t]*[=:][ \t]*[\"']?(?:[a-z]+[ \t]+)?+){VALUE}"
    rf"|(?P<bearer>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{{8,}}"
    rf"|(?P<option>--[a-z0-9-]{{0,40}}(?:{WORDS})[a-z0-9-]{{0,40}}[ \t]+)(?!-){VALUE}"
    rf"|(?P<pair>(?:{WORDS})[a-z0-9_.-]{{0,60}}[\\\"']*[ \t]*[=:][ \t]*){VALUE}",
    re.IGNORECASE,
)


def looks_secret(key: str) -> bool:
    """Does a configuration key name something that must not be shown?"""
    return re.search(WORDS, key, re.IGNORECASE) is not None


def from_env_files(paths: Iterable[Path]) -> list[str]:
    """Values of secret-looking keys in KEY=value files, and the passwords inside of addresses."""
    lines = [line for path in paths if path.is_file() for line in path.read_text(errors="replace").splitlines()]
    found = []
    for line in lines:
        key, sign, value = line.partition("=")
        if sign and looks_secret(key):
            found += [value.strip().strip("\"'"), value.partition(" #")[0].strip().strip("\"'")]
        found += re.findall(r"://[^/\s:@]*:([^/\s@]+)@", value)
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

    def cut(self, text: str, wanted: int) -> int:
        """The last place up to `wanted` where the text can be cut without cutting a secret."""
        for pattern in (PATTERNS, self.known, PATTERNS):
            for found in pattern.finditer(text) if pattern else ():
                if found.start() < wanted < found.end():
                    wanted = found.start()
        return wanted


class Stream:
    """Masks a stream in whole lines, so that a secret cut in two by a chunk's end is still seen."""

    def __init__(self, masker: Masker) -> None:
        self.masker, self.rest = masker, ""

    def feed(self, text: str) -> str:
        """What can be shown now."""
        text = self.rest + text
        end = text.rfind("\n") + 1
        if len(text) - end > HELD_BACK:  # a line without an end
            end = self.masker.cut(text, len(text) - HELD_BACK // 2)
        if len(text) - end > LONGEST:  # a secret without an end: its beginning is kept, to know what follows
            self.rest = text[end : end + HELD_BACK]
            return self.masker(text)
        self.rest = text[end:]
        return self.masker(text[:end])

    def close(self) -> str:
        rest, self.rest = self.rest, ""
        return self.masker(rest)
