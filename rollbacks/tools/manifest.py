"""The manifest of a system: where it lives, what belongs to it, how it is started. One TOML text, read strictly.

All of its problems are told at once, each with its line: nobody should learn of the second one at 3 a.m.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from rollbacks.tools import ToolError, mask

SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
UNIT = re.compile(r"[A-Za-z0-9@._:][A-Za-z0-9@._:-]*")
ENVIRONMENTS = ("production", "staging", "test")
MANAGERS = ("systemd", "supervisor", "none")
KEYS: dict[str, tuple[str, ...]] = {
    "system": (
        "name",
        "environment",
        "root",
        "host",
        "config",
        "secrets",
        "requirements",
        "environment_dir",
        "artifacts",
        "logs",
        "components",
        "backups",
        "push_tags",
    ),
    "service": ("manager", "unit", "url"),
    "commands": ("test", "validate_config", "smoke", "reset_metrics", "component_test"),
    "health": ("url", "watch_minutes"),
    "retention": ("last", "daily", "weekly", "monthly"),
}
MOST_KEPT = 1000  # restore points of one sort
KINDS: dict[type, str] = {
    str: "text in quotes",
    bool: "true or false",
    list: "a list of paths in quotes",
    dict: "a table",
}


class ManifestError(ToolError):
    """The manifest cannot be used as it is. `problems`: one sentence each, with line, table and key."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("The manifest cannot be used; nothing was changed. Correct it: " + "; ".join(self.problems))


@dataclass(frozen=True)
class Service:
    manager: str  # systemd, supervisor, none
    unit: str = ""
    url: str = ""  # supervisor's: unix:///path or http://host:port


@dataclass(frozen=True)
class Retention:
    """How many restore points are kept: the last ones, and the last of each of so many days, weeks and months."""

    last: int = 10
    daily: int = 7
    weekly: int = 4
    monthly: int = 12


@dataclass(frozen=True)
class Manifest:
    name: str
    environment: str
    root: Path
    host: str
    config: tuple[str, ...]  # paths relative to root, like all the lists
    secrets: tuple[str, ...]
    requirements: str
    environment_dir: str
    artifacts: tuple[str, ...]
    logs: tuple[str, ...]
    components: dict[str, tuple[str, ...]]
    backups: Path
    push_tags: bool
    service: Service
    commands: dict[str, str]
    health_url: str  # "" when there is none
    watch_minutes: float
    retention: Retention
    text: str

    def elsewhere(self, root: Path) -> Manifest:
        """The same system in another directory: a copy of it, that no service manager and no health check knows of."""
        return replace(self, root=root, service=Service("none"), health_url="", push_tags=False)

    @property
    def state_dir(self) -> Path:
        return self.root / ".rollback"

    @property
    def unwatched(self) -> tuple[str, ...]:
        """What the running service writes itself: a change there is no change of the system."""
        return (*self.artifacts, *self.logs)

    @property
    def live_environment(self) -> Path:
        return self.root / self.environment_dir


@lru_cache(maxsize=256)
def parse(text: str) -> Manifest:
    """Read a manifest. Raises ManifestError, which lists all that is wrong with it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError([toml_problem(str(error), text)]) from error
    reader = Reader(text, tables)
    found = reader.manifest()
    if reader.problems:
        raise ManifestError([problem for _, problem in sorted(reader.problems, key=lambda each: each[0])])
    return found


def toml_problem(said: str, text: str) -> str:
    """TOML's own words, with the line first as everywhere else."""
    place = re.search(r"\s*\(at line (\d+), column (\d+)\)", said)
    if place is None:
        return f"line {len(text.splitlines()) or 1}: this is not valid TOML: {said}"
    return f"line {place[1]}, column {place[2]}: this is not valid TOML: {said[: place.start()]}"


class Reader:
    """Takes the values out of the tables, and notes what is wrong with them instead of stopping at the first."""

    def __init__(self, text: str, tables: dict[str, Any]) -> None:
        self.text, self.tables = text, tables
        self.problems: list[tuple[int, str]] = []
        self.lines = locate(text)

    def manifest(self) -> Manifest:
        self.known_keys()
        root = self.absolute("root")
        return Manifest(
            name=self.matching(
                "system", "name", SLUG, "use small letters, digits and hyphens, a letter or digit first"
            ),
            environment=self.choice("system", "environment", ENVIRONMENTS, "production"),
            root=root,
            host=self.matching("system", "host", SLUG, "use small letters, digits and hyphens", "local"),
            config=self.paths("system", "config"),
            secrets=self.paths("system", "secrets"),
            requirements=self.path("requirements", "requirements.txt"),
            environment_dir=self.path("environment_dir", ".venv"),
            artifacts=self.paths("system", "artifacts"),
            logs=self.paths("system", "logs"),
            components=self.components(),
            backups=self.backups(root),
            push_tags=self.value("system", "push_tags", bool, False),
            service=self.service(),
            commands=self.commands(),
            health_url=self.health_url(),
            watch_minutes=self.watch_minutes(),
            retention=self.retention(),
            text=self.text,
        )

    # --- what the manifest holds ------------------------------------------------------------------------------------

    def known_keys(self) -> None:
        for table in self.tables:
            if table not in KEYS:
                self.wrong(table, "", f"there is no such table: use {words(KEYS)}{meant(table, KEYS)}")
        for table, known in KEYS.items():
            for key in self.table(table, complain=True):
                if key not in known:
                    self.wrong(table, key, f"there is no such key: use {words(known)}{meant(key, known)}")

    def absolute(self, key: str) -> Path:
        said = self.required("system", key)
        if said and (not said.startswith("/") or ".." in PurePosixPath(said).parts or not said.isprintable()):
            self.wrong("system", key, f"{said!r} has to be an absolute path without “..”, like /srv/agents")
        elif said and PurePosixPath(said) == PurePosixPath("/"):
            self.wrong("system", key, "the whole disk is not a system: name the directory that is meant")
        return Path(said)

    def backups(self, root: Path) -> Path:
        path = self.absolute("backups")
        if path.is_absolute() and root.is_absolute() and path.is_relative_to(root):
            self.wrong(
                "system", "backups", f"“{path}” is inside root: a restore would touch it. Choose a place outside"
            )
        return path

    def path(self, key: str, default: str) -> str:
        said: str = self.value("system", key, str, default)
        self.check_path("system", key, said)
        return said

    def paths(self, table: str, key: str, value: Any = None) -> tuple[str, ...]:
        said = self.value(table, key, list, []) if value is None else value
        if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
            self.wrong(table, key, f'has to be {KINDS[list]}, like ["config/app.json"]')
        found = [each for each in said if isinstance(each, str)] if isinstance(said, list) else []
        for each in found:
            self.check_path(table, key, each)
        return tuple(found)

    def check_path(self, table: str, key: str, said: str) -> None:
        if why := unusable(said):
            self.wrong(table, key, f"{said!r} {why}")

    def components(self) -> dict[str, tuple[str, ...]]:
        said = self.value("system", "components", dict, {})
        for name in said:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
                self.wrong("system", "components", f"{name!r}: use letters, digits, “_” and “-” for a component's name")
        return {name: self.paths("system", "components", paths) for name, paths in said.items()}

    def service(self) -> Service:
        manager = self.choice("service", "manager", MANAGERS, "none")
        unit = self.value("service", "unit", str, "")
        url = self.value("service", "url", str, "")
        if unit and not UNIT.fullmatch(unit):
            self.wrong("service", "unit", f"{unit!r}: use letters, digits and @._:- only, and no “-” first")
        if manager in ("systemd", "supervisor") and not unit:
            self.wrong("service", "unit", f"{manager} needs the name of the unit")
        if manager == "supervisor" and not supervisor_url(url):
            self.wrong(
                "service",
                "url",
                f"{mask.hide(url)!r}: supervisor needs its url, like unix:///run/supervisor.sock or http://… (in a "
                "password write / as %2F and @ as %40)",
            )
        return Service(manager, unit, url)

    def commands(self) -> dict[str, str]:
        said = {key: value for key, value in self.table("commands").items() if key in KEYS["commands"]}
        for key, value in said.items():
            if not isinstance(value, str):
                self.wrong("commands", key, f"has to be {KINDS[str]}")
            elif not value.strip() or "\x00" in value:
                self.wrong("commands", key, "is empty: leave the key out when there is no such command")
        return said

    def health_url(self) -> str:
        url: str = self.value("health", "url", str, "")
        if url and not web_url(url):
            self.wrong("health", "url", f"{mask.hide(url)!r} has to start with http:// or https:// and name a host")
        return url

    def watch_minutes(self) -> float:
        said = self.table("health").get("watch_minutes", 60)
        if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < math.inf:
            self.wrong("health", "watch_minutes", f"{said!r} has to be a number of minutes above 0")
            return 60.0
        return float(said)

    def retention(self) -> Retention:
        said = {name: self.count(name, count) for name, count in asdict(Retention()).items()}
        return Retention(**said)

    def count(self, key: str, default: int) -> int:
        least = 1 if key == "last" else 0
        said = self.table("retention").get(key, default)
        if isinstance(said, bool) or not isinstance(said, int) or not least <= said <= MOST_KEPT:
            what = "the newest one is never removed" if least else "0 keeps none for its sake"
            self.wrong("retention", key, f"{said!r} has to be a whole number from {least} to {MOST_KEPT}: {what}")
            return default
        return said

    # --- single values ----------------------------------------------------------------------------------------------

    def table(self, name: str, complain: bool = False) -> dict[str, Any]:
        found = self.tables.get(name, {})
        if isinstance(found, dict):
            return found
        if complain:
            self.wrong(name, "", f"has to be a table: write [{name}] on a line of its own")
        return {}

    def value(self, table: str, key: str, kind: type, default: Any) -> Any:
        found = self.table(table).get(key, default)
        if isinstance(found, kind):
            return found
        self.wrong(table, key, f"has to be {KINDS[kind]}")
        return default

    def required(self, table: str, key: str) -> str:
        if key not in self.table(table):
            self.wrong(table, key, "is missing and required")
            return ""
        found: str = self.value(table, key, str, "")
        if not found and isinstance(self.table(table)[key], str):
            self.wrong(table, key, "is empty and required")
        return found

    def matching(self, table: str, key: str, pattern: re.Pattern[str], rule: str, default: str = "") -> str:
        found: str = self.value(table, key, str, default) if default else self.required(table, key)
        if (found or default) and not pattern.fullmatch(found):
            self.wrong(table, key, f"{found!r}: {rule}")
        return found

    def choice(self, table: str, key: str, known: Sequence[str], default: str) -> str:
        found: str = self.value(table, key, str, default)
        if found not in known:
            self.wrong(table, key, f"{found!r} is unknown: use {words(known)}{meant(found, known)}")
        return found

    def wrong(self, table: str, key: str, why: str) -> None:
        line = self.lines.get((table, key)) or self.lines.get((table, "")) or 1
        self.problems.append(
            (line, f"line {line}, [{table}] {key}: {why}" if key else f"line {line}, [{table}]: {why}")
        )


def locate(text: str) -> dict[tuple[str, str], int]:
    """Line numbers of tables (name, "") and keys (name, key), as well as a look at the text can tell."""
    table = ""
    lines: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"""\s*\[+\s*["']?([\w-]+)["']?\s*(?:\.\s*["']?([\w-]+))?""", line):
            table = head[1]
            lines.setdefault((table, head[2] or ""), number)
            lines.setdefault((table, ""), number)
        elif key := re.match(r"""\s*["']?([\w-]+)["']?\s*(?:\.\s*["']?([\w-]+)["']?\s*)?[.=]""", line):
            lines.setdefault((table, key[1]) if table else (key[1], key[2] or ""), number)
    return lines


def unusable(path: str) -> str:
    """Why a path cannot be one below root; "" when it can."""
    if path.startswith(("/", "~")):
        return "has to be relative to root"
    if path.startswith("-"):
        return "starts with “-”, which commands would take for an option: write ./ before it"
    if ".." in PurePosixPath(path).parts:
        return "leaves root: paths go without “..”"
    if PurePosixPath(path) == PurePosixPath(".") or not path.isprintable():
        return "names no file or directory below root"
    if PurePosixPath(path).parts[0] in (".git", ".rollback"):
        return "belongs to git or to the portal, not to the system"
    return ""


def shown(text: str) -> str:
    """A manifest's text as everybody may read it: the passwords in its addresses and commands are hidden."""
    return "".join(map(shown_line, text.splitlines(keepends=True)))


def shown_line(line: str) -> str:
    """The names of the files that hold secrets are none themselves."""
    key = found[0] if (found := re.match(r"""\s*["']?secrets["']?\s*=\s*""", line)) else ""
    return key + mask.hide(line.removeprefix(key))


def supervisor_url(url: str) -> bool:
    """Not one whose password holds a / or @ as it is: it would be asked of another host."""
    return bool(re.fullmatch(r"unix:///\S+", url)) or (
        url.startswith("http://") and web_url(url) and "@" not in urlsplit(url).path
    )


def web_url(url: str) -> bool:
    """http(s), with a host, a sane port and nothing that could end the request's line."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
        )
    except ValueError:
        return False


def check_elsewhere(own: Manifest, said: str) -> None:
    """Raises ToolError for a directory that a copy of the system may not be restored into."""
    path = Path(said)
    if not said.startswith("/") or ".." in path.parts or not said.isprintable():
        raise ToolError(f"{said!r} has to be an absolute path without “..”, like /srv/restored.")
    for taken, what in ((own.root, "the system itself"), (own.backups, "its backups")):
        if path.is_relative_to(taken) or taken.is_relative_to(path):
            raise ToolError(f"{said} is where {what} lies ({taken}). Name an empty directory somewhere else.")


def words(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def meant(said: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(said, list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""
