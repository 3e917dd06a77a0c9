"""The first page: what is wrong, what is happening about it, what can I do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from incidents import actions as incidents
from incidents.models import Incident
from portal.views import ROLLBACKS_SHOWN
from rollbacks import actions, runner
from rollbacks.models import DecisionRule, Rollback, System
from rollbacks.tools import probe
from tests.conftest import again, asked, manifest_text

ClientFor = Callable[[User], Client]
DOWN = probe.Health(False, True, 500, 12.0, "answered 500")


def seen(client: Client) -> dict[str, Any]:
    """What the page is given, each by its words."""
    context = client.get("/").context
    names = ("burning", "unhealthy", "waiting", "others_waiting", "held", "active", "reviews", "systems")
    return {name: [str(each) for each in context[name]] for name in names}


def test_where_nothing_is_yet_it_says_how_to_begin(client_for: ClientFor, oncall: User) -> None:
    page = client_for(oncall).get("/").content.decode()
    assert "No system is managed yet." in page
    assert "/systems/add/" in page


def test_where_nothing_is_wrong(client_for: ClientFor, system: System, oncall: User) -> None:
    shown = seen(client_for(oncall))
    assert shown.pop("systems") == ["agents"]
    assert not any(shown.values())


def test_what_burns(client_for: ClientFor, system: System, incident: Incident, oncall: User) -> None:
    runner.look(system, DOWN)
    client = client_for(oncall)
    shown = seen(client)
    assert (shown["unhealthy"], shown["burning"]) == (["agents"], [f"Incident {incident.pk}"])
    page = client.get("/").content.decode()
    for words in ("answered 500", incident.title, "/systems/agents/roll-back/", f"/incidents/{incident.pk}/"):
        assert words in page
    runner.look(system, probe.Health(True, True, 200, 3.0, "answered 200"))
    incidents.acknowledge(incident.pk, by=oncall)
    incidents.resolve(incident.pk, by=oncall)
    shown = seen(client)
    assert (shown["unhealthy"], shown["burning"]) == ([], [])


def test_what_waits_for_me_and_what_waits_for_others(
    client_for: ClientFor, planned: Rollback, oncall: User, oncall2: User, tech_lead: User, auditor: User
) -> None:
    for who in (tech_lead, oncall, oncall2, auditor):
        shown = seen(client_for(who))
        mine, others = ("waiting", "others_waiting") if who == tech_lead else ("others_waiting", "waiting")
        assert (shown[mine], shown[others]) == ([f"Rollback {planned.pk}"], []), who
    actions.approve(planned.pk, by=tech_lead)
    shown = seen(client_for(oncall))
    assert (shown["active"], shown["others_waiting"]) == ([f"Rollback {planned.pk}"], [])


def test_a_debt_is_shown_until_it_is_paid(
    client_for: ClientFor, planned: Rollback, oncall: User, tech_lead: User
) -> None:
    actions.override(planned.pk, by=oncall, note="Nobody answers")
    shown = seen(client_for(tech_lead))
    assert shown["reviews"] == [f"Review of Rollback {planned.pk} of agents"]
    assert "Nobody answers" in client_for(tech_lead).get("/").content.decode()
    review = again(planned).incident.reviews.get()  # type: ignore[union-attr]
    incidents.answer_review(review.pk, by=tech_lead, note="It was right")
    assert seen(client_for(tech_lead))["reviews"] == []


def test_what_a_person_has_to_decide_comes_first(client_for: ClientFor, approved: Rollback, oncall: User) -> None:
    Rollback.objects.filter(pk=approved.pk).update(state="held", trouble="It cannot know")
    page = client_for(oncall).get("/").content.decode()
    assert "A rollback is held" in page
    assert page.index("Held: ") < page.index('id="systems"')


def test_who_may_not_declare_is_told_why(client_for: ClientFor, db: None, auditor: User, oncall: User) -> None:
    assert "and you are Auditor" in client_for(auditor).get("/").content.decode()
    assert "/incidents/declare/" in client_for(oncall).get("/").content.decode()


def test_stranger(client: Client, db: None) -> None:
    assert client.get("/").headers["Location"] == "/accounts/login/?next=/"
    assert client.post("/").status_code in (302, 405)


def test_it_asks_the_database_as_often_for_one_as_for_many(
    client_for: ClientFor, system: System, oncall: User, tech_lead: User, checkout: Any
) -> None:
    client = client_for(tech_lead)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/").status_code == 200
        return len(captured)

    def busy(number: int) -> None:
        """A system that is down, with its incident, and a rollback of it that waits."""
        text = manifest_text(checkout).replace('"agents"', f'"agents-{number}"')
        other = actions.add_system(by=None, text=text)[0]
        runner.look(other, DOWN)
        incident = incidents.declare(by=oncall, title="Down", severity="high", scope="multiple")
        other.incidents.add(incident)
        rollback = asked(other, oncall, incident=incident)
        Rollback.objects.filter(pk=rollback.pk).update(state="awaiting_approval")
        incidents.open_review(incident=incident, kind="override", subject="x", url="/", reason="x", by=oncall)

    busy(1)
    few = queries()
    for number in range(2, 9):
        busy(number)
    assert queries() == few
    assert DecisionRule.objects.exists()


@pytest.mark.parametrize("state", ["planning", "completed", "reverted", "cancelled", "refused", "rejected", "expired"])
def test_what_is_over_is_not_on_it(client_for: ClientFor, rollback: Rollback, oncall: User, state: str) -> None:
    Rollback.objects.filter(pk=rollback.pk).update(state=state)
    shown = seen(client_for(oncall))
    assert not shown["active"] + shown["waiting"] + shown["others_waiting"] + shown["held"]


def test_of_many_rollbacks_under_way_the_newest_are_shown_and_all_are_counted(
    client_for: ClientFor, matrix: None, checkout: Path, oncall: User
) -> None:
    for number in range(ROLLBACKS_SHOWN + 1):
        text = manifest_text(checkout).replace('name = "agents"', f'name = "agents-{number}"')
        rollback = asked(actions.add_system(by=None, text=text)[0], oncall)
        Rollback.objects.filter(pk=rollback.pk).update(state="running")
    page = client_for(oncall).get("/")
    assert len(page.context["active"]) == ROLLBACKS_SHOWN
    assert str(page.context["active"][0]) == str(rollback)
    assert f"{ROLLBACKS_SHOWN + 1} rollbacks under way" in page.content.decode()
    assert f'<a class="small" href="/systems/">All {ROLLBACKS_SHOWN + 1}</a>' in page.content.decode()
