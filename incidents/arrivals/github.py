"""GitHub's deployment statuses: a deployment that failed is trouble, the next one that succeeds ends it."""

from __future__ import annotations

from typing import Any

from incidents.arrivals.arrival import Arrival, NotUnderstood, arrival, labels_of, part, text

FAILED = {"failure", "error"}


def read(payload: dict[str, Any]) -> list[Arrival]:
    """Nothing for what is neither: a deployment on its way, or GitHub's ping."""
    if "zen" in payload:
        return []
    status, repository = part(payload, "deployment_status"), text(payload, "repository", "full_name")
    state = text(status, "state")
    if not state or not repository:
        raise NotUnderstood('Expected the event "Deployment statuses": "deployment_status" and "repository".')
    if state not in {*FAILED, "success"}:
        return []
    deployment, environment = part(payload, "deployment"), text(status, "environment") or "production"
    said = [text(status, "description"), f"commit {text(deployment, 'sha')}, ref {text(deployment, 'ref')}"]
    return [
        arrival(
            key=f"{repository} {environment}",
            title=f"The deployment of {repository} to {environment} failed",
            summary="\n".join(line for line in said if line),
            severity=state,
            labels=labels_of(
                {"repository": text(payload, "repository", "name"), "full_name": repository, "environment": environment}
            ),
            firing=state in FAILED,
            url=text(status, "log_url") or text(status, "target_url") or text(payload, "repository", "html_url"),
        )
    ]
