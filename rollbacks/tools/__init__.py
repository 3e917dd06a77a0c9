"""The only code that touches the outside: git, services, environments, files, processes. No Django in here."""

from __future__ import annotations


class ToolError(Exception):
    """Something outside did not go as it should. The message says what happened, what is safe, and what to do."""
