"""Configuration files by their format, which their name tells: JSON, TOML, YAML, INI. Others are lines of text."""

from __future__ import annotations

import configparser
import json
import tomllib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import yaml

from rollbacks.tools import ToolError


class NotValid(ToolError):
    """The content is not what the file's name says; the message says where."""


def parse(name: str, content: bytes) -> Any:
    """Plain values; None for a format that nobody can tell by the name. Raises NotValid."""
    kind = PurePosixPath(name).suffix.lower()
    reader = READERS.get(kind)
    if reader is None:
        return None
    try:
        return reader(content.decode("utf-8-sig"))
    except (ValueError, yaml.YAMLError, configparser.Error) as error:
        raise NotValid(f"{kind.removeprefix('.').upper()}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise NotValid(f"{kind.removeprefix('.').upper()}: nested too deeply") from error


def from_ini(text: str) -> dict[str, dict[str, str]]:
    reader = configparser.RawConfigParser(strict=True)
    reader.optionxform = str  # type: ignore[assignment,method-assign]  # keys as they are written
    reader.read_string(text)
    return {name: dict(reader.items(name)) for name in reader.sections()}


READERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".ini": from_ini,
    ".cfg": from_ini,
}
