from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from incidents import action_items
from incidents.models import ActionItem, Incident
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
IncidentIn = Callable[[str], Incident]
VERBS = ["start", "finish", "drop"]


@pytest.fixture
def item(incident_in: IncidentIn, oncall: User) -> ActionItem:
    due = timezone.now() + timedelta(days=7)
    incident = incident_in("resolved")
    return action_items.add_item(
        incident_pk=incident.pk, by=oncall, title="Add a canary", term="long", owner=oncall, due_at=due
    )


def now(item: ActionItem) -> ActionItem:
    return ActionItem.objects.get(pk=item.pk)


def test_adding_one(client_for: ClientFor, incident_in: IncidentIn, oncall: User, engineer: User) -> None:
    incident = incident_in("mitigating")
    said = {"title": "Test the limit", "owner": engineer.pk, "term": "short", "due_at": "2026-12-01T09:00"}
    shown = client_for(oncall).post(f"/incidents/{incident.pk}/add-item/", said, follow=True).content.decode()
    assert "“Test the limit” is on the list" in shown
    made = ActionItem.objects.get()
    assert (made.owner, made.due_at, made.term) == (engineer, datetime(2026, 12, 1, 9, tzinfo=UTC), "short")
    assert rows_of(made)[0].move == "add"
    assert "To do: Test the limit" in [line.text for line in incident.timeline.all()]


@pytest.mark.parametrize(
    "wrong", [{"title": ""}, {"title": "x" * 201}, {"term": "never"}, {"due_at": "soon"}, {"owner": "999"}]
)
def test_adding_one_with_bad_input_keeps_what_was_typed(
    client_for: ClientFor, incident_in: IncidentIn, oncall: User, wrong: dict[str, str]
) -> None:
    incident = incident_in("mitigating")
    said = {"title": "Test the limit", "owner": "", "term": "short", "due_at": "", **wrong}
    response = client_for(oncall).post(f"/incidents/{incident.pk}/add-item/", said)
    assert response.status_code == 422
    assert "errorlist" in response.content.decode()
    assert not ActionItem.objects.exists()


def test_an_auditor_owns_nothing_and_adds_nothing(
    client_for: ClientFor, incident_in: IncidentIn, oncall: User, auditor: User
) -> None:
    incident = incident_in("mitigating")
    said = {"title": "Test the limit", "owner": auditor.pk, "term": "short", "due_at": ""}
    assert client_for(oncall).post(f"/incidents/{incident.pk}/add-item/", said).status_code == 422
    said["owner"] = oncall.pk
    assert client_for(auditor).post(f"/incidents/{incident.pk}/add-item/", said).status_code == 403
    assert client_for(auditor).get(f"/incidents/{incident.pk}/add-item/").status_code == 405
    assert not ActionItem.objects.exists()


def test_changing_one_keeps_what_stood_there(client_for: ClientFor, item: ActionItem, engineer: User) -> None:
    said = {"title": item.title, "owner": engineer.pk, "term": "long", "due_at": "2026-12-24T12:00"}
    client_for(engineer).post(item.get_absolute_url(), said)
    assert now(item).owner == engineer
    row = rows_of(item)[0]
    assert (row.move, row.data["before"]["owner"]) == ("change", "Amara Okafor")
    action_items.finish(item.pk, by=engineer)
    shown = client_for(engineer).post(item.get_absolute_url(), said, follow=True).content.decode()
    assert "it is not changed any more" in shown


def test_start_finish_and_drop(client_for: ClientFor, item: ActionItem, oncall: User) -> None:
    client = client_for(oncall)
    client.post(f"/action-items/{item.pk}/start/")
    assert now(item).state == "in_progress"
    client.post(f"/action-items/{item.pk}/finish/", {"note": "Merged as 4f2a"})
    after = now(item)
    assert (after.state, after.note) == ("done", "Merged as 4f2a")
    shown = client.post(f"/action-items/{item.pk}/drop/", {"note": "No use"}, follow=True).content.decode()
    assert "was finished by Amara Okafor" in shown
    assert now(item).state == "done"
    assert [row.move for row in rows_of(item)] == ["finish", "start", "add"]


def test_it_is_dropped_only_with_a_reason(client_for: ClientFor, item: ActionItem, oncall: User) -> None:
    client = client_for(oncall)
    assert "Say why it is dropped" in client.post(f"/action-items/{item.pk}/drop/", follow=True).content.decode()
    assert now(item).state == "open"
    client.post(f"/action-items/{item.pk}/drop/", {"note": "The agent is retired"})
    assert (now(item).state, now(item).note) == ("dropped", "The agent is retired")


@pytest.mark.parametrize("verb", VERBS)
def test_stranger_and_wrong_method(
    client: Client, client_for: ClientFor, item: ActionItem, auditor: User, oncall: User, verb: str
) -> None:
    address = f"/action-items/{item.pk}/{verb}/"
    assert client.post(address, {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    assert client_for(auditor).post(address, {"note": "x"}).status_code == 403
    assert client_for(oncall).get(address).status_code == 405
    assert client_for(oncall).post(f"/action-items/999/{verb}/", {"note": "x"}).status_code == 404
    assert "at most 4000" in client_for(oncall).post(address, {"note": "x" * 4001}, follow=True).content.decode()
    assert now(item).state == "open"


def test_it_comes_back_only_to_pages_of_the_portal(client_for: ClientFor, item: ActionItem, oncall: User) -> None:
    client = client_for(oncall)
    for back, expected in (("/my-work/", "/my-work/"), ("https://example.org/", item.get_absolute_url())):
        address = f"/action-items/{item.pk}/{'start' if back == '/my-work/' else 'finish'}/"
        assert client.post(address, {"next": back}).headers["Location"] == expected


def test_my_work_shows_what_waits_for_me_the_overdue_first(
    client_for: ClientFor, item: ActionItem, oncall: User, engineer: User
) -> None:
    for title, owner, days in (("Later", oncall, 9), ("Sooner", oncall, 1), ("Not mine", engineer, 1)):
        action_items.add_item(
            incident_pk=item.incident_id or 0,
            by=oncall,
            title=title,
            term="long",
            owner=owner,
            due_at=timezone.now() + timedelta(days=days),
        )
    with time_machine.travel(timezone.now() + timedelta(days=8), tick=False):
        shown = client_for(oncall).get("/my-work/").content.decode()
    assert shown.index("Sooner") < shown.index("Add a canary") < shown.index("Later")
    assert shown.count("Overdue") == 2
    assert "Not mine" not in shown
    assert client_for(oncall).post("/my-work/").status_code == 405


def test_my_work_shows_reviews_and_post_mortems(
    client_for: ClientFor, in_review: object, review_of: Callable[..., object], oncall: User, tech_lead: User
) -> None:
    review_of(None, oncall)
    mine, theirs = (client_for(person).get("/my-work/").content.decode() for person in (oncall, tech_lead))
    assert "you did not write in it" in theirs
    assert "Approval overridden" in theirs
    assert "you did not write in it" not in mine
    assert "Approval overridden" not in mine
