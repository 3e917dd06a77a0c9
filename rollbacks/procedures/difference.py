"""Differences as people read them: packages by name, configuration key by key, secrets hidden."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from rollbacks.tools import mask, syntax

HIDDEN = "•••"
ABSENT = object()  # null is a value
REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*?)\s*$")


def packages(live: str, wanted: str) -> list[dict[str, str]]:
    """[{"name", "from", "to"}] of what differs; "" where a package is absent. A live package that the wanted
    requirements do not name is no difference (it is somebody's dependency), unless both are freezes."""
    before, after = pins(live), pins(wanted)
    full = all(spec.startswith("==") for spec in after.values()) and len(after) >= len(before) / 2
    names = sorted({*after, *(before if full else ())})
    rows = [  # an address may hold a password
        {"name": name, "from": mask.hide(shown(before.get(name, ""))), "to": mask.hide(shown(after.get(name, "")))}
        for name in names
    ]
    return [row for row in rows if row["from"] != row["to"]]


def pins(text: str) -> dict[str, str]:
    """Requirement lines by normalised name; options and comments are left out."""
    found = {}
    for line in text.splitlines():
        words = line.split(" #")[0].split(";")[0].strip()
        if words and not words.startswith(("#", "-")) and (match := REQUIREMENT.match(words)):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def shown(spec: str) -> str:
    return spec.removeprefix("==").strip()


def configuration(name: str, live: bytes, wanted: bytes) -> list[dict[str, str]]:
    """[{"file", "key", "from", "to"}] key by key for JSON, TOML, YAML and INI, line by line for all else."""
    if live == wanted:
        return []
    try:
        before, after = (syntax.parse(name, each) if each.strip() else {} for each in (live, wanted))
    except syntax.NotValid:
        return lines(name, live, wanted)
    if before is None or after is None:
        return lines(name, live, wanted)
    before, after = flat(before), flat(after)
    keys = [key for key in {**before, **after} if before.get(key, ABSENT) != after.get(key, ABSENT)]
    return [{"file": name, "key": key, "from": value(key, before), "to": value(key, after)} for key in keys]


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables and lists by dotted keys: {"agents.0.model": …}."""
    if isinstance(node, list) and node:
        node = dict(enumerate(node))
    if isinstance(node, dict) and (node or not prefix):
        return {
            k: v for key, each in node.items() for k, v in flat(each, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: node}


def value(key: str, values: dict[str, Any]) -> str:
    if key not in values:
        return ""
    shown = json.dumps(values[key], ensure_ascii=False, default=str)
    return HIDDEN if mask.looks_secret(key) else mask.hide(shown)


def lines(name: str, live: bytes, wanted: bytes) -> list[dict[str, str]]:
    before, after = (mask.hide(each.decode(errors="replace")).splitlines() for each in (live, wanted))
    changed = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:1] in "+-"][2:200]
    return [
        {"file": name, "key": "", "from": line[1:] if line[0] == "-" else "", "to": line[1:] if line[0] == "+" else ""}
        for line in changed
    ]
