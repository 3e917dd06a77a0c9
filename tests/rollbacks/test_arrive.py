"""POST /in/<source>/: other tools declare incidents. Nobody is signed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client

from incidents import actions as incidents
from incidents import arriving
from incidents.models import Alert, Incident, Source, Tally
from portal.ledger.models import rows_of
from rollbacks.models import RestorePoint, System

ClientFor = Callable[[User], Client]
DOWN = {"key": "agents-5xx", "title": "Agents answer 500", "severity": "critical", "system": "agents"}
OVER = {**DOWN, "status": "resolved"}


@pytest.fixture
def watch(devops: User) -> tuple[Source, str]:
    return arriving.add_source(by=devops, name="watch", kind="generic")


@pytest.fixture
def send(watch: tuple[Source, str]) -> Callable[..., Any]:
    """send(message): posted with the token, as a tool does it, without cookies."""

    def post(message: Any, *, url: str = "/in/watch/", token: str = watch[1], **more: Any) -> Any:
        client = Client(enforce_csrf_checks=True)
        words = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {token}"}, **more}
        return client.post(url, message, **words)

    return post


def test_it_works(send: Callable[..., Any], system: System) -> None:
    response = send(DOWN)
    incident = Incident.objects.get()
    assert response.status_code == 200
    assert response.json() == {
        "incidents": [{"id": incident.pk, "url": f"http://testserver/incidents/{incident.pk}/", "new": True}]
    }
    assert (incident.state, incident.severity, incident.scope) == ("declared", "critical", "single")
    assert (incident.declared_by, incident.declarer) == (None, "watch")
    assert list(incident.systems.all()) == [system]
    assert rows_of(incident).get().data["declared_from"] == "watch"
    assert incident.timeline.get().text == "Anything else (generic) (watch) declared the incident."


def test_a_token_in_the_address_is_as_good(send: Callable[..., Any], watch: tuple[Source, str]) -> None:
    assert send(DOWN, url=f"/in/watch/{watch[1]}/", token="").status_code == 200
    assert Incident.objects.count() == 1


def test_wrong_method(client: Client, watch: tuple[Source, str]) -> None:
    assert client.get("/in/watch/").status_code == 405


def test_stranger(send: Callable[..., Any], watch: tuple[Source, str], client_for: ClientFor, devops: User) -> None:
    for token in ("", "wrong", watch[1][:-1], watch[1].swapcase()):
        response = send(DOWN, token=token)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    elsewhere = send(DOWN, url="/in/nowhere/")
    assert (elsewhere.status_code, elsewhere.json()) == (401, response.json()), "names of sources are not told"
    assert not Incident.objects.exists()
    assert "The token is missing or wrong" in client_for(devops).get("/sources/watch/").content.decode()


def test_wrong_tokens_run_into_a_limit_and_the_right_one_does_not(send: Callable[..., Any]) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 3, 0, 30, tzinfo=UTC), tick=False):
        said = [send(DOWN, token="wrong").status_code for _ in range(arriving.WRONG_A_MINUTE + 2)]
        assert said == [401] * arriving.WRONG_A_MINUTE + [429] * 2
        assert send(DOWN).status_code == 200
    with time_machine.travel(datetime(2026, 3, 1, 3, 1, 5, tzinfo=UTC), tick=False):
        assert send(DOWN, token="wrong").status_code == 401


def test_a_flood_is_told_to_wait(send: Callable[..., Any], watch: tuple[Source, str]) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 3, 0, 30, tzinfo=UTC), tick=False):
        send(DOWN)
        Tally.objects.update(count=arriving.A_MINUTE)
        response = send(DOWN)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    assert Alert.objects.get().count == 1


def test_wrong_state(send: Callable[..., Any], watch: tuple[Source, str], devops: User) -> None:
    arriving.change_source(watch[0].pk, by=devops, enabled=False)
    assert send(DOWN).status_code == 403
    assert not Incident.objects.exists()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("{", "application/json", 400),
        ("[" * 100_000, "application/json", 400),
        ("[]", "application/json", 400),
        ('{"title": "x"}', "text/plain", 415),
        ("{}", "application/json", 422),
        ('{"title": "' + "x" * 1024 * 1024 + '"}', "application/json", 413),
    ],
    ids=["broken", "deep", "list", "no JSON", "no title", "large"],
)
def test_bad_input(
    send: Callable[..., Any], body: str, kind: str, status: int, client_for: ClientFor, devops: User
) -> None:
    response = send(body, content_type=kind)
    assert response.status_code == status
    assert not Incident.objects.exists()
    assert client_for(devops).get("/sources/watch/").context["refusals"][0].said == response.json()["error"]


def test_script_in_a_message_is_shown_and_not_run(
    send: Callable[..., Any], client_for: ClientFor, oncall: User
) -> None:
    bad = "<script>alert(1)</script>"
    send({"title": bad, "summary": bad, "system": bad, "labels": {bad: bad}, "key": bad})
    page = client_for(oncall).get(f"/incidents/{Incident.objects.get().pk}/").content.decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


# --- the same again -------------------------------------------------------------------------------------------------


def test_repeats_are_counted_in_one_line(send: Callable[..., Any], oncall: User) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 10, 0, tzinfo=UTC), tick=False) as clock:
        send(DOWN)
        for _ in range(12):
            clock.shift(60)
            assert send(DOWN).json()["incidents"][0]["new"] is False
        incident = Incident.objects.get()
        assert [line.text for line in incident.timeline.all()][1:] == ["watch said it 12 more times, until 10:12 UTC."]
        incidents.acknowledge(incident.pk, by=oncall)
        clock.shift(60)
        send(DOWN)
    assert [line.text for line in incident.timeline.all()][1:] == [
        "watch said it 12 more times, until 10:12 UTC.",
        "Amara Okafor acknowledged the incident.",
        "watch said it once more, until 10:13 UTC.",
    ]
    assert Incident.objects.get().state == "acknowledged", "a repeat never un-acknowledges"
    assert Alert.objects.get().count == 14


def test_over_is_proposed_and_not_done(send: Callable[..., Any], client_for: ClientFor, oncall: User) -> None:
    send(DOWN)
    incident = Incident.objects.get()
    incidents.acknowledge(incident.pk, by=oncall)
    send(OVER)
    send(OVER)
    assert Incident.objects.get().state == "acknowledged"
    assert sum("says that it is over" in line.text for line in incident.timeline.all()) == 1
    page = client_for(oncall).get(f"/incidents/{incident.pk}/").content.decode()
    assert "watch says that it is over</h2>" in page
    send(DOWN)
    assert (
        "watch says that it is over</h2>" not in client_for(oncall).get(f"/incidents/{incident.pk}/").content.decode()
    )
    assert incident.timeline.last().text == "watch says that it is back."


def test_over_what_never_was_declares_nothing(send: Callable[..., Any]) -> None:
    assert send(OVER).json() == {"incidents": []}
    assert not Incident.objects.exists()


def test_after_the_end_it_is_a_new_incident_that_names_the_old_one(send: Callable[..., Any], oncall: User) -> None:
    send(DOWN)
    old = Incident.objects.get()
    incidents.acknowledge(old.pk, by=oncall)
    incidents.resolve(old.pk, by=oncall)
    send(DOWN)
    new = Incident.objects.exclude(pk=old.pk).get()
    assert Incident.objects.get(pk=old.pk).state == "resolved"
    assert f"The same alert was Incident {old.pk}" in new.timeline.get().text


def test_a_reopened_incident_takes_its_alert_back_unless_a_newer_one_has_it(
    send: Callable[..., Any], oncall: User
) -> None:
    send(DOWN)
    old = Incident.objects.get()
    incidents.acknowledge(old.pk, by=oncall)
    incidents.resolve(old.pk, by=oncall)
    incidents.reopen(old.pk, by=oncall, note="It is back")
    assert send(DOWN).json()["incidents"][0]["id"] == old.pk
    incidents.resolve(old.pk, by=oncall)
    newer = send(DOWN).json()["incidents"][0]["id"]
    incidents.reopen(old.pk, by=oncall, note="It is back")
    assert send(DOWN).json()["incidents"][0]["id"] == newer != old.pk


# --- what it names --------------------------------------------------------------------------------------------------


def test_the_incident_page_proposes_the_rollback_that_fits(
    send: Callable[..., Any], system: System, client_for: ClientFor, oncall: User
) -> None:
    RestorePoint.objects.create(system=system, tag="backup-20260301-100000", state="verified")
    send({**DOWN, "severity": "high", "labels": {"scope": "multiple"}})
    incident = Incident.objects.get()
    client = client_for(oncall)
    page = client.get(f"/incidents/{incident.pk}/").content.decode()
    query = f"procedure=code&amp;to=backup-20260301-100000&amp;incident={incident.pk}"
    assert f'href="/systems/agents/roll-back/?{query}"' in page
    form = client.get(f"/systems/agents/roll-back/?{query.replace('amp;', '')}").context["form"]
    filled = {name: form[name].value() for name in ("procedure", "target", "severity", "scope", "reason")}
    assert filled == {
        "procedure": "code", "target": "backup-20260301-100000", "severity": "high", "scope": "multiple",
        "reason": "Agents answer 500",
    }  # fmt: skip
    assert form["incident"].value() == incident.pk


def test_a_source_may_have_words_of_its_own(send: Callable[..., Any], watch: tuple[Source, str], devops: User) -> None:
    arriving.change_source(watch[0].pk, by=devops, severities={"sev1": "critical"}, severity="low")
    send({"title": "One", "severity": "SEV1"})
    send({"title": "Two", "severity": "warning"})
    send({"title": "Three", "severity": "odd"})
    assert dict(Incident.objects.values_list("title", "severity")) == {
        "One": "critical", "Two": "medium", "Three": "low",
    }  # fmt: skip
