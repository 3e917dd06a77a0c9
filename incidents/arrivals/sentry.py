"""Sentry: issue alerts, issues and metric alerts of an internal integration, and the older WebHooks plugin."""

from __future__ import annotations

from typing import Any

from incidents.arrivals.arrival import Arrival, NotUnderstood, arrival, labels_of, part, text

OVER = {"resolved", "ignored", "archived"}


def read(payload: dict[str, Any]) -> list[Arrival]:
    data = part(payload, "data")
    if metric := part(data, "metric_alert"):
        return [of_metric(payload, data, metric)]
    if issue := part(data, "issue"):
        return of_issue(payload, issue)
    if event := part(data, "event"):
        return [of_event(event)]
    if part(payload, "event") or text(payload, "project"):
        return [of_plugin(payload)]
    if payload.get("installation"):
        return []  # it was installed or removed: nothing burns
    raise NotUnderstood('Expected "data" with an "event", an "issue" or a "metric_alert".')


def of_event(event: dict[str, Any]) -> Arrival:
    return arrival(
        key=f"issue {text(event, 'issue_id') or text(event, 'groupID') or text(event, 'title')}",
        title=text(event, "title"),
        summary=text(event, "culprit"),
        severity=text(event, "level"),
        labels=labels_of(tags(event), {"project": text(event, "project_slug") or text(event, "project")}),
        url=text(event, "web_url"),
    )


def of_issue(payload: dict[str, Any], issue: dict[str, Any]) -> list[Arrival]:
    """An issue that was assigned is no new trouble, and not over either."""
    action = text(payload, "action")
    if action not in {"created", "unresolved", *OVER}:
        return []
    found = arrival(
        key=f"issue {text(issue, 'id')}",
        title=text(issue, "title"),
        summary=text(issue, "culprit"),
        severity=text(issue, "level"),
        labels=labels_of({"project": text(issue, "project", "slug")}),
        firing=action not in OVER,
        url=text(issue, "web_url") or text(issue, "permalink"),
    )
    return [found]


def of_metric(payload: dict[str, Any], data: dict[str, Any], metric: dict[str, Any]) -> Arrival:
    projects = metric.get("projects")
    project = projects[0] if isinstance(projects, list) and projects else ""
    return arrival(
        key=f"metric {text(metric, 'alert_rule', 'id') or text(metric, 'id')}",
        title=text(data, "description_title") or text(metric, "title"),
        summary=text(data, "description_text"),
        severity=text(payload, "action"),
        labels=labels_of({"project": project}),
        firing=text(payload, "action") != "resolved",
        url=text(data, "web_url"),
    )


def of_plugin(payload: dict[str, Any]) -> Arrival:
    return arrival(
        key=f"issue {text(payload, 'id')}",
        title=text(payload, "event", "title") or text(payload, "message") or text(payload, "culprit"),
        summary=text(payload, "culprit"),
        severity=text(payload, "level"),
        labels=labels_of(tags(part(payload, "event")), {"project": text(payload, "project")}),
        url=text(payload, "url"),
    )


def tags(event: dict[str, Any]) -> dict[str, Any]:
    """They come as pairs."""
    given = event.get("tags")
    pairs = [each for each in given if isinstance(each, list) and len(each) == 2] if isinstance(given, list) else []
    return {str(name): value for name, value in pairs}
