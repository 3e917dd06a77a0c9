"""The portal's own form, for everything else: docs/webhooks.md."""

from __future__ import annotations

from typing import Any

from incidents.arrivals.arrival import Arrival, NotUnderstood, arrival, labels_of, part, text

OVER = {"resolved", "ok"}


def read(payload: dict[str, Any]) -> list[Arrival]:
    if not text(payload, "title"):
        raise NotUnderstood('Expected "title": one line that says what is wrong.')
    status = text(payload, "status").lower() or "firing"
    if status not in {"firing", *OVER}:
        raise NotUnderstood('"status" is "firing" (or left out) or "resolved".')
    return [
        arrival(
            key=text(payload, "key"),
            title=text(payload, "title"),
            summary=text(payload, "summary"),
            severity=text(payload, "severity"),
            labels=labels_of(part(payload, "labels"), {"system": text(payload, "system")}),
            firing=status == "firing",
            url=text(payload, "url"),
        )
    ]
