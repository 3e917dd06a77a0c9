"""Grafana's alerting, webhook contact point: Alertmanager's message, with links into Grafana."""

from __future__ import annotations

from typing import Any

from incidents.arrivals.alertmanager import first, group
from incidents.arrivals.arrival import Arrival, text


def read(payload: dict[str, Any]) -> list[Arrival]:
    links = ("panelURL", "dashboardURL", "generatorURL")
    return [group(payload, link=next((url for name in links if (url := text(first(payload), name))), ""))]
