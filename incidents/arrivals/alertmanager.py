"""Prometheus Alertmanager, webhook version 4. One message is one group of alerts, so one group is one trouble: how
alerts are grouped is said in Alertmanager (`group_by`), not a second time here."""

from __future__ import annotations

from typing import Any

from incidents.arrivals.arrival import Arrival, NotUnderstood, arrival, labels_of, part, text

TOLD = 20  # alerts of a group that are named in the summary


def read(payload: dict[str, Any]) -> list[Arrival]:
    return [group(payload, link=text(first(payload), "generatorURL") or text(payload, "externalURL"))]


def group(payload: dict[str, Any], *, link: str) -> Arrival:
    """Raises NotUnderstood."""
    alerts, status = alerts_of(payload), text(payload, "status")
    if status not in ("firing", "resolved"):
        raise NotUnderstood('Expected "status": "firing" or "resolved".')
    if not alerts:
        raise NotUnderstood('Expected "alerts": a list with at least one alert.')
    one = alerts[0]
    labels = labels_of(part(one, "labels") if len(alerts) == 1 else {}, part(payload, "groupLabels"),
                       part(payload, "commonLabels"))  # fmt: skip
    said = part(payload, "commonAnnotations") or part(one, "annotations")
    return arrival(
        key=text(payload, "groupKey") or text(one, "fingerprint"),
        title=text(said, "summary") or labels.get("alertname") or text(one, "labels", "alertname"),
        summary=summary(said, alerts),
        severity=labels.get("severity", ""),
        labels=labels,
        firing=status == "firing",
        url=link,
    )


def alerts_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    given = payload.get("alerts")
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def first(payload: dict[str, Any]) -> dict[str, Any]:
    return next(iter(alerts_of(payload)), {})


def summary(said: dict[str, Any], alerts: list[dict[str, Any]]) -> str:
    """The annotation's words, then each alert by its labels."""
    lines = [text(said, "description") or text(said, "message")]
    for each in alerts[:TOLD]:
        named = " ".join(f"{name}={value}" for name, value in labels_of(part(each, "labels")).items())
        lines.append(f"{text(each, 'status')}: {named}")
    if len(alerts) > TOLD:
        lines.append(f"and {len(alerts) - TOLD} more alerts")
    return "\n".join(line for line in lines if line)
