"""What a rollback leaves to do, what is known of it without anybody's typing, and what its log learns afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from incidents import actions as incidents
from incidents import postmortems
from incidents.action_items import FOLLOW_UPS
from incidents.models import ActionItem, DeliveryState, EmergencyContact, Incident, Notification, PostMortem, Way
from portal.ledger.models import rows_of
from rollbacks import actions, facts, runner
from rollbacks.models import Rollback, RollbackLogEntry, System
from rollbacks.tools.probe import Health
from tests.conftest import again

ClientFor = Callable[[User], Client]
GOOD = Health(True, True, 200, 1.0, "200 OK")


@pytest.fixture
def taken(incident: Incident, tech_lead: User, transactional_db: None) -> Incident:
    """Acknowledged by the Tech Lead, before anything was done."""
    return incidents.acknowledge(incident.pk, by=tech_lead)


def items() -> list[ActionItem]:
    return list(ActionItem.objects.order_by("pk"))


def test_the_guides_actions_appear_with_owners_and_due_times(
    client_for: ClientFor, taken: Incident, watched: Rollback, oncall: User, manager: User, tech_lead: User
) -> None:
    EmergencyContact.objects.create(role="Project Manager", duty="Stakeholder communication", person=manager)
    assert not items(), "not while it is watched"
    before = timezone.now()
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    assert [item.title for item in items()] == [each.title for each in FOLLOW_UPS]
    owners = {item.title: item.owner for item in items()}
    assert owners["Verify system stability"] == oncall
    assert owners["Notify stakeholders"] == manager
    assert owners["Conduct post-mortem"] == tech_lead, "who took the incident looks back on it"
    lengths = {item.term: round((item.due_at - before).total_seconds() / 3600) for item in items() if item.due_at}
    assert lengths == {"immediate": 1, "short": 24, "long": 7 * 24}
    assert {(item.incident, item.url) for item in items()} == {(taken, f"/rollbacks/{watched.pk}/")}
    assert rows_of(items()[0])[0].actor_name == "the portal"
    shown = client_for(oncall).get(taken.get_absolute_url()).content.decode()
    assert "Begin root cause analysis" in shown
    mine = client_for(oncall).get("/my-work/").content.decode()
    assert "Create fix branch" in mine
    assert "Notify stakeholders" not in mine


def test_they_appear_by_themselves_when_the_watch_is_over(watched: Rollback, time_machine: Any) -> None:
    time_machine.move_to(timezone.now() + timedelta(minutes=61))
    runner.look(System.objects.get(), GOOD)
    assert len(items()) == len(FOLLOW_UPS)


def test_they_appear_when_it_was_settled_by_hand(held: Rollback, oncall: User) -> None:
    actions.settle(held.pk, by=oncall, note="Checked out v1 by hand")
    assert len(items()) == len(FOLLOW_UPS)


def test_they_appear_when_it_was_undone(watched: Rollback, oncall: User) -> None:
    actions.abort(watched.pk, by=oncall, note="The old release loses data")
    assert not items()
    runner.carry(watched.run.pk)
    assert again(watched).state == "reverted"
    assert len(items()) == len(FOLLOW_UPS)


def test_they_appear_once_however_often_the_end_is_told(watched: Rollback, oncall: User) -> None:
    actions.complete(watched.pk, by=oncall, note="Traffic is normal")
    runner.follow_up(again(watched))
    assert len(items()) == len(FOLLOW_UPS)
    assert rows_of(items()[0]).count() == 1


def looked_back(incident: Incident, oncall: User, **texts: str) -> PostMortem:
    postmortem = postmortems.begin(incident.pk, by=oncall)
    for key, body in {"summary": "It fell over.", **texts}.items():
        postmortems.write(postmortem.sections.get(key=key).pk, by=oncall, body=body, version=0)
    return postmortems.submit(postmortem.pk, by=oncall)


def test_the_log_gets_its_root_cause_and_prevention_from_the_published_post_mortem(
    client_for: ClientFor, watched: Rollback, incident: Incident, oncall: User, tech_lead: User
) -> None:
    entry = RollbackLogEntry.objects.get()
    actions.explain(entry.pk, by=oncall, root_cause="Typed at night", prevention="Sleep")
    looked_back(incident, oncall, causes="A limit that nobody tested.")
    assert RollbackLogEntry.objects.get().root_cause == "Typed at night", "not before it is published"
    client_for(tech_lead).post(f"/incidents/{incident.pk}/post-mortem/publish/")
    after = RollbackLogEntry.objects.get()
    assert (after.root_cause, after.prevention) == ("A limit that nobody tested.", "Sleep")
    row = rows_of(watched)[0]
    assert (row.move, row.actor) == ("explain", tech_lead)
    assert row.data["before"]["root_cause"] == "Typed at night", "what a person typed is kept in the ledger"


def test_the_facts_write_themselves_and_lead_to_their_rows(
    client_for: ClientFor, watched: Rollback, incident: Incident, oncall: User
) -> None:
    postmortems.begin(incident.pk, by=oncall)
    shown = client_for(oncall).get(f"/incidents/{incident.pk}/post-mortem/").content.decode()
    entry = incident.timeline.first()
    assert entry is not None
    assert f'href="/incidents/{incident.pk}/#entry-{entry.pk}"' in shown
    step = watched.run.steps.first()
    assert step is not None
    assert f'href="/rollbacks/{watched.pk}/#step-{step.number}"' in shown
    assert step.title in shown
    for block in ("Measured downtime", "Time in each state", "Votes", "Steps", "Log entries", "Timeline", "Deliveries"):
        assert f"{block} <span" in shown
    assert "15 min" in shown, "the budget of the rule"
    assert "Henrik Lindqvist" in shown, "who voted"


def test_the_deliveries_say_what_became_of_each_message(
    watched: Rollback, incident: Incident, oncall: User, oncall2: User
) -> None:
    said = incident.messages.order_by("pk")[0]
    Notification.objects.all().delete()
    for person, state, sent_at in (
        (oncall, DeliveryState.SENT, said.made_at + timedelta(seconds=4)),
        (oncall2, DeliveryState.DEAD, None),
    ):
        Notification.objects.create(message=said, person=person, way=Way.EMAIL, state=state, sent_at=sent_at)
    [block] = [each for each in facts.facts(incident, public=False) if each.title == "Deliveries"]
    [row] = block.rows
    assert row.url == f"/incidents/{incident.pk}/deliveries/"
    assert row.cells == [said.made_at, said.subject, "1 given up, 1 sent", timedelta(seconds=4)]
    assert "Deliveries" not in [each.title for each in facts.facts(incident, public=True)]


def test_the_public_one_names_nobody_and_quotes_nobody(
    client_for: ClientFor, watched: Rollback, incident: Incident, oncall: User, tech_lead: User
) -> None:
    postmortem = postmortems.begin(incident.pk, by=oncall)
    client = client_for(oncall)
    client.post(f"/incidents/{incident.pk}/post-mortem/address/", {"audience": "public"})
    section = postmortem.sections.get(key="summary")
    postmortems.write(section.pk, by=oncall, body="It was slow.", version=0)
    postmortems.submit(postmortem.pk, by=oncall)
    postmortems.publish(postmortem.pk, by=tech_lead)
    for path in ("print/", "export/"):
        shown = client.get(f"/incidents/{incident.pk}/post-mortem/{path}").content.decode()
        body = shown.split("<main", 1)[-1]
        assert "Measured downtime" in body
        assert "Time in each state" in body
        for private in ("Henrik Lindqvist", "Amara Okafor", "500 since 2", "Votes", "asked for"):
            assert private not in body


def test_export_is_markdown_with_text_and_facts(
    client_for: ClientFor, watched: Rollback, incident: Incident, oncall: User
) -> None:
    looked_back(incident, oncall, causes="A | limit\n\n- nobody tested it")
    response = client_for(oncall).get(f"/incidents/{incident.pk}/post-mortem/export/")
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert f'filename="post-mortem-{incident.pk}.md"' in response.headers["Content-Disposition"]
    text = response.content.decode()
    assert "# Post-mortem: Agents answer 500" in text
    assert "## Contributing factors\n\nA | limit\n\n- nobody tested it" in text
    assert "**Votes**\n\n| Rollback | Vote | By | Waited for |\n| --- | --- | --- | --- |\n" in text
    assert client_for(oncall).post(f"/incidents/{incident.pk}/post-mortem/export/").status_code == 405


def test_a_page_of_facts_asks_the_database_little(
    client_for: ClientFor, watched: Rollback, incident: Incident, oncall: User, django_assert_max_num_queries: Any
) -> None:
    postmortems.begin(incident.pk, by=oncall)
    client = client_for(oncall)
    with django_assert_max_num_queries(45):
        client.get(f"/incidents/{incident.pk}/post-mortem/")
