"""What other tools say when something burns, each in its own words, read into one: Arrival. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from incidents.arrivals import alertmanager, generic, github, grafana, sentry
from incidents.arrivals.arrival import Arrival, NotUnderstood

Parser = Callable[[dict[str, Any]], list[Arrival]]
PARSERS: dict[str, Parser] = {
    "alertmanager": alertmanager.read,
    "grafana": grafana.read,
    "sentry": sentry.read,
    "github": github.read,
    "generic": generic.read,
}
SYSTEM_LABELS = {  # the label that names the system, until somebody says another
    "alertmanager": "system",
    "grafana": "system",
    "sentry": "project",
    "github": "repository",
    "generic": "system",
}

__all__ = ["PARSERS", "SYSTEM_LABELS", "Arrival", "NotUnderstood"]
