"""Secrets never reach a log, a page or the database: what a machine said is masked before it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

HIDDEN = "•••"
SHORTEST = 6  # characters: a shorter value would hide innocent words
HELD_BACK = 4096  # characters kept until the line is whole
LONGEST = 16 * HELD_BACK  # characters of one secret that are kept while its end is awaited
WORDS = "passwd|password|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential"
VALUE = r"""(?!•)(?:"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|\S+)"""  # too much is better than too little
WORD = re.compile(r"\S+")
ADDRESS = re.compile(r"://(?!\[)")
# Up to the last @, for a password may hold / and @; not behind a port, where the @ belongs to a path.
WHO = re.compile(r"[^/:]*(?::(?!\d{1,5}/)(?P<password>.*)|(?<=[^/]))@", re.DOTALL)
PATTERNS = re.compile(
    rf"(?P<auth>\bauthorization[\\\"']*[ \t]*[=:][ \t]*[\"']?(?:[a-z]+[ \t]+)?+){VALUE}"
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
        found += from_addresses(value)
    return found


def from_addresses(text: str) -> list[str]:
    """The passwords inside of addresses: as they stand there, and as they are sent."""
    found = [who["password"] for word in WORD.findall(text) for who in entering(word) if who["password"]]
    return [*found, *map(unquote, found)]


def entering(word: str) -> Iterator[re.Match[str]]:
    """Who enters at the addresses in a word: the user, the password and the @."""
    at, end = 0, word.rfind("@") + 1
    while address := ADDRESS.search(word, at, end):
        who = WHO.match(word, address.end(), end)
        at = who.end() if who else address.end()
        if who:
            yield who


def hide_who_enters(word: re.Match[str]) -> str:
    """The user too: a token may stand there."""
    shown, at = "", 0
    for who in entering(word[0]):
        shown += f"{word[0][at : who.start()]}{HIDDEN}@"
        at = who.end()
    return shown + word[0][at:]


class Masker:
    """masker(text) -> the same text with every known secret, and all that looks like one, replaced."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)
        self.known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self.known is not None:
            text = self.known.sub(HIDDEN, text)
        if "://" in text:
            text = WORD.sub(hide_who_enters, text)
        return PATTERNS.sub(lambda found: f"{found[found.lastgroup or 0]}{HIDDEN}", text)

    def cut(self, text: str, wanted: int) -> int:
        """The last place up to `wanted` where the text can be cut without cutting a secret."""
        for pattern in (WORD, PATTERNS, self.known, WORD, PATTERNS):
            for found in pattern.finditer(text) if pattern else ():
                if found.start() < wanted < found.end() and (pattern is not WORD or "://" in found[0]):
                    wanted = found.start()
        return wanted


hide = Masker([])  # where no secret is known: all that looks like one


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
