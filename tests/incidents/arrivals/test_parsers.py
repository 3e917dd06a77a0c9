"""Each tool's own message, as its documentation has it, and what becomes of one that is not."""

from __future__ import annotations

from typing import Any

import pytest

from incidents.arrivals import PARSERS, NotUnderstood

ALERTMANAGER = {
    "version": "4",
    "groupKey": '{}:{alertname="HighErrorRate"}',
    "status": "firing",
    "externalURL": "http://alertmanager:9093",
    "groupLabels": {"alertname": "HighErrorRate"},
    "commonLabels": {"alertname": "HighErrorRate", "severity": "critical", "system": "agents"},
    "commonAnnotations": {"summary": "5 % of answers are errors"},
    "alerts": [
        {"status": "firing", "labels": {"instance": "a:80"}, "generatorURL": "http://prometheus:9090/g"},
        {"status": "firing", "labels": {"instance": "b:80"}},
    ],
}
SENTRY = {
    "action": "triggered",
    "data": {
        "event": {
            "issue_id": "117",
            "title": "KeyError: 'plan'",
            "level": "fatal",
            "project": 1,
            "project_slug": "agents",
            "web_url": "https://sentry.example.org/issues/117/",
            "tags": [["environment", "production"], "odd"],
        }
    },
}
GITHUB = {
    "action": "created",
    "deployment_status": {"state": "failure", "environment": "production", "description": "Health check failed"},
    "deployment": {"sha": "a" * 40, "ref": "main"},
    "repository": {"name": "agents", "full_name": "example/agents", "html_url": "https://github.com/example/agents"},
}


def one(kind: str, payload: dict[str, Any]) -> Any:
    (found,) = PARSERS[kind](payload)
    return found


def test_alertmanagers_group_is_one_trouble() -> None:
    found = one("alertmanager", ALERTMANAGER)
    assert (found.key, found.title) == ('{}:{alertname="HighErrorRate"}', "5 % of answers are errors")
    assert (found.severity, found.labels["system"], found.firing) == ("critical", "agents", True)
    assert found.url == "http://prometheus:9090/g"
    assert "instance=b:80" in found.summary
    assert not one("alertmanager", {**ALERTMANAGER, "status": "resolved"}).firing


def test_grafana_links_to_the_panel() -> None:
    alerts = [{"labels": {"alertname": "Disk"}, "panelURL": "https://grafana.example.org/d/1?viewPanel=2"}]
    found = one("grafana", {"status": "firing", "groupKey": "k", "alerts": alerts})
    assert (found.title, found.url) == ("Disk", "https://grafana.example.org/d/1?viewPanel=2")


def test_sentrys_alert_and_its_resolved_issue_are_the_same_trouble() -> None:
    found = one("sentry", SENTRY)
    assert (found.key, found.severity) == ("issue 117", "fatal")
    assert found.labels == {"project": "agents", "environment": "production"}
    issue = {"id": "117", "title": "KeyError: 'plan'", "project": {"slug": "agents"}}
    over = one("sentry", {"action": "resolved", "data": {"issue": issue}})
    assert (over.key, over.firing) == (found.key, False)
    assert PARSERS["sentry"]({"action": "assigned", "data": {"issue": issue}}) == []


def test_sentrys_metric_alert_ends_with_the_same_key() -> None:
    data = {"metric_alert": {"alert_rule": {"id": 7}, "projects": ["agents"]}, "description_title": "Errors are high"}
    found, over = (one("sentry", {"action": action, "data": data}) for action in ("critical", "resolved"))
    assert (found.key, found.severity, found.firing) == (over.key, "critical", True)
    assert not over.firing


def test_githubs_failed_deployment_ends_with_the_next_good_one() -> None:
    found = one("github", GITHUB)
    assert found.title == "The deployment of example/agents to production failed"
    assert found.labels["repository"] == "agents"
    good = {**GITHUB, "deployment_status": {"state": "success", "environment": "production"}}
    assert (one("github", good).key, one("github", good).firing) == (found.key, False)
    assert PARSERS["github"]({"zen": "Keep it logically awesome."}) == []
    assert PARSERS["github"]({**GITHUB, "deployment_status": {"state": "in_progress"}}) == []


@pytest.mark.parametrize("kind", sorted(PARSERS))
@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"status": 7, "alerts": "x", "data": [], "title": {}, "deployment_status": None, "repository": []},
        {"status": "firing", "alerts": [None, 3], "data": {"event": 1}, "title": ["x"]},
        {
            "status": "firing",
            "deployment_status": {"state": []},
            "alerts": [{"labels": ["x"]}],
            "data": {"event": {"title": []}},
            "title": "\u202e\x00",
        },
    ],
)
def test_what_is_not_the_tools_message_is_refused_in_words(kind: str, payload: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood, match=r"\.$"):
        PARSERS[kind](payload)


def test_unknown_fields_are_ignored() -> None:
    known = one("generic", {"title": "Down"})
    assert one("generic", {"title": "Down", "labels": {"deep": {"er": 1}, "on": True}, "new": [1]}) == known


def test_what_no_reader_sees_is_taken_out() -> None:
    found = one("generic", {"title": "Do\x00wn\u202e \ud800now\n\tat\x1b[31m once", "summary": "a\r\nb\x07"})
    assert (found.title, found.summary) == ("Down now at[31m once", "a\nb")


def test_what_is_too_long_is_cut_and_long_keys_stay_different() -> None:
    found = one("generic", {"title": "x" * 900, "key": "k" * 900})
    assert (len(found.title), found.title[-1]) == (200, "…")
    assert found.key != one("generic", {"title": "x", "key": "k" * 901}).key
    assert len(found.key) <= 200


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "https://x/ y", "https://" + "x" * 600, 7])
def test_only_a_web_address_becomes_a_link(url: Any) -> None:
    assert one("generic", {"title": "Down", "url": url}).url == ""
