"""The hour after a rollback: what is kept of each look, how it is drawn, and what happens when health is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incidents import actions as incidents
from incidents.models import Incident
from portal import views
from rollbacks import actions, runner, tasks, watching
from rollbacks.models import HealthSample, Rollback, System
from rollbacks.tools.probe import Health
from tests.conftest import again, look_back

ClientFor = Callable[[User], Client]
SICK = Health(False, True, 500, 7.0, "500: token=super-secret-token")


def good(ms: float) -> Health:
    return Health(True, True, 200, ms, f"200 in {ms:.0f} ms")


def look(seen: Health) -> None:
    runner.look(System.objects.get(), seen)


def test_each_look_is_kept_while_it_is_under_watch(watched: Rollback, time_machine: Any, oncall: User) -> None:
    began = watched.run.ended_at
    assert began is not None
    for second, seen in ((1, good(12.34)), (3, SICK), (5, good(9))):
        time_machine.move_to(began + timedelta(seconds=second), tick=False)
        look(seen)
    kept = [(each.second, each.healthy, each.milliseconds, each.detail) for each in HealthSample.objects.all()]
    assert kept == [(1, True, 12.3, "200 in 12 ms"), (3, False, 7.0, "500: token=•••"), (5, True, 9.0, "200 in 9 ms")]
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    look(good(1))
    assert HealthSample.objects.count() == 3


def test_a_look_from_before_the_watch_is_no_part_of_it(watched: Rollback) -> None:
    began = watched.run.ended_at
    assert began is not None
    runner.look(System.objects.get(), good(1), began - timedelta(seconds=1))
    assert not HealthSample.objects.exists()


def test_nothing_is_kept_before_the_rollback(system: System) -> None:
    look(good(1))
    assert not HealthSample.objects.exists()


def fill(rollback: Rollback, seconds: range, ms: Callable[[int], float] = lambda second: 10.0) -> None:
    began = rollback.run.ended_at
    assert began is not None
    HealthSample.objects.bulk_create(
        HealthSample(
            rollback=rollback, at=began + timedelta(seconds=each), second=each, healthy=True, milliseconds=ms(each)
        )
        for each in seconds
    )


def test_an_hour_of_looks_is_drawn_with_no_more_points_than_can_be_seen(watched: Rollback) -> None:
    fill(watched, range(0, 3600, 2), lambda second: 250.0 if second == 1000 else 10.0)
    with CaptureQueriesContext(connection) as asked_for:
        drawn = watching.chart(again(watched))
    assert drawn is not None
    assert (drawn.looks, drawn.lost, drawn.slowest) == (1800, 0, 250.0), "the slowest look is not averaged away"
    assert len(drawn.lines) == 1
    assert 100 < len(drawn.lines[0].split()) <= watching.MOST_POINTS
    assert len(drawn.rows) <= watching.ROWS
    assert len(asked_for.captured_queries) < 6


def test_where_nobody_looked_there_is_no_line_and_where_health_was_lost_there_is_a_bar(watched: Rollback) -> None:
    fill(watched, range(0, 300, 2))
    fill(watched, range(900, 1200, 2))
    HealthSample.objects.filter(second__range=(960, 989)).update(healthy=False)
    drawn = watching.chart(again(watched))
    assert drawn is not None
    assert len(drawn.lines) == 2
    assert (len(drawn.bars), drawn.lost) == (1, 15)
    assert drawn.said == "Healthy in 285 of 300 looks; the slowest answer took 10 ms, the last 10 ms."


def test_the_page_draws_it_and_says_it_in_words_too(client_for: ClientFor, watched: Rollback, auditor: User) -> None:
    client = client_for(auditor)
    assert "<svg" not in client.get(f"/rollbacks/{watched.pk}/").content.decode()
    fill(watched, range(0, 60, 2))
    shown = client.get(f"/rollbacks/{watched.pk}/").content.decode()
    assert 'role="img" aria-label="Healthy in 30 of 30 looks; the slowest answer took 10 ms' in shown
    assert "<polyline" in shown
    assert "The same as a table" in shown
    assert 'style="' not in shown, "the portal's policy lets no inline style through"


def test_the_page_asks_no_more_for_many_looks(client_for: ClientFor, watched: Rollback, auditor: User) -> None:
    client = client_for(auditor)
    fill(watched, range(0, 2, 2))
    counts = []
    for seconds in (range(2, 4, 2), range(4, 3600, 2)):
        fill(watched, seconds)
        with CaptureQueriesContext(connection) as asked_for:
            client.get(f"/rollbacks/{watched.pk}/")
        counts.append(len(asked_for.captured_queries))
    assert counts[0] == counts[1]


def test_the_looks_of_a_watch_that_was_over_long_ago_are_let_go_of(
    watched: Rollback, time_machine: Any, oncall: User
) -> None:
    """Nothing else of it: the log keeps what was measured. A watch that goes on keeps all of its looks."""
    fill(watched, range(0, 60, 2))
    time_machine.move_to(timezone.now() + timedelta(days=91), tick=False)
    tasks.prune()
    assert HealthSample.objects.count() == 30, "it is under watch"
    time_machine.move_to(timezone.now() - timedelta(days=2), tick=False)
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    tasks.prune()
    assert HealthSample.objects.count() == 30, "not old enough"
    time_machine.move_to(timezone.now() + timedelta(days=2), tick=False)
    tasks.prune()
    assert not HealthSample.objects.exists()
    assert again(watched).log_entry.rollback_seconds > 0


def test_an_open_page_looks_again_while_something_is_under_watch(
    watched: Rollback, time_machine: Any, oncall: User
) -> None:
    now = timezone.now()
    before = views.marker()
    time_machine.move_to(now + timedelta(seconds=views.WATCH_SECONDS))
    assert views.marker() != before
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    before = views.marker()
    time_machine.move_to(now + timedelta(seconds=views.WATCH_SECONDS * 2))
    assert views.marker() == before


@pytest.mark.parametrize("state", ["monitoring", "resolved", "closed"])
def test_lost_health_reopens_the_incident_and_its_timeline_says_so(
    watched: Rollback, incident: Incident, oncall: User, tech_lead: User, time_machine: Any, state: str
) -> None:
    if state != "monitoring":
        incidents.resolve(incident.pk, by=oncall)
    if state == "closed":
        look_back(incident, oncall, tech_lead)
        incidents.close(incident.pk, by=oncall)
    assert incident_state() == state
    look(SICK)
    time_machine.move_to(timezone.now() + timedelta(seconds=10))
    look(SICK)
    assert again(watched).state == "reverting"
    after = Incident.objects.get()
    assert (after.state, after.resolved_at, after.closed_at) == ("mitigating", None, None)
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert f"Rollback {watched.pk} failed and is being undone. Health was lost during the watch" in last.text
    assert "super-secret-token" not in last.text


def incident_state() -> str:
    return str(Incident.objects.get().state)


def test_people_cannot_reopen_a_closed_incident(
    client_for: ClientFor, watched: Rollback, incident: Incident, oncall: User, tech_lead: User
) -> None:
    pk = incident.pk
    incidents.resolve(pk, by=oncall)
    look_back(incident, oncall, tech_lead)
    incidents.close(pk, by=oncall)
    assert client_for(oncall).post(f"/incidents/{pk}/reopen/", {"note": "It is back"}).status_code == 403
    assert "Reopen" not in client_for(oncall).get(f"/incidents/{pk}/").content.decode()
    assert incident_state() == "closed"
