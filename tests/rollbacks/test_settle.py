from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from portal.ledger.models import rows_of
from rollbacks import runner
from rollbacks.models import Rollback, RollbackLogEntry
from tests.conftest import again, asked

ClientFor = Callable[[User], Client]


def url(rollback: Rollback) -> str:
    return f"/rollbacks/{rollback.pk}/settle/"


def test_it_works(client_for: ClientFor, held: Rollback, incident: Incident, oncall: User) -> None:
    response = client_for(oncall).post(url(held), {"note": "Checked out v1 by hand"}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{held.pk}/", 302)]
    after = again(held)
    assert (after.state, after.ended_at is not None) == ("completed", True)
    row = rows_of(held).first()
    assert row is not None
    assert (row.move, row.source, row.actor, row.note) == ("settle", "held", oncall, "Checked out v1 by hand")
    assert after.log_entry.outcome == "settled"
    assert (after.log_entry.trigger, after.log_entry.downtime_seconds) == ("500 since 2", None)
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert last.text == f"Amara Okafor finished Rollback {held.pk} by hand: Checked out v1 by hand"


def test_what_was_measured_before_it_was_held_is_in_the_record(
    client_for: ClientFor, running: Rollback, other_portal: Path, oncall: User
) -> None:
    """The downtime is known up to the instant at which the portal let go: it is not thrown away."""
    probes = runner.prober_file(running.run)
    probes.parent.mkdir(parents=True, exist_ok=True)
    began = time.time() - 10
    said = [{"at": began, "ok": True}, {"at": began + 2, "ok": False}, {"at": began + 5, "ok": True}]
    probes.write_text("".join(f"{json.dumps(each)}\n" for each in said))
    runner.carry(running.run.pk)
    other_portal.unlink()
    assert again(running).state == "held"
    client_for(oncall).post(url(running), {"note": "Checked out v1 by hand"})
    entry = again(running).log_entry
    assert (entry.outcome, entry.downtime_seconds) == ("settled", 3.0)


def test_nothing_is_left_for_a_worker(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    client_for(oncall).post(url(held), {"note": "By hand"})
    assert runner.due() == []
    asked(held.system, oncall)  # the system is free again
    runner.carry(Rollback.objects.latest("pk").run.pk)
    assert Rollback.objects.latest("pk").state == "awaiting_approval"


def test_wrong_method(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    assert client_for(oncall).get(url(held)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, held: Rollback, stranger: User, engineer: User) -> None:
    assert client.post(url(held), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer):
        response = client_for(person).post(url(held), {"note": "x"})
        assert response.status_code == 403
        assert "this needs the role On-Call Engineer or above" in response.content.decode()
    assert again(held).state == "held"
    assert not RollbackLogEntry.objects.exists()


def test_wrong_state(client_for: ClientFor, watched: Rollback, oncall: User) -> None:
    shown = client_for(oncall).post(url(watched), {"note": "By hand"}, follow=True).content.decode()
    assert "it cannot be settled" in shown
    assert "You had written: “By hand”" in shown
    assert again(watched).state == "monitoring"
    assert again(watched).log_entry.outcome == "succeeded", "the measured record stays"


def test_bad_input(client_for: ClientFor, held: Rollback, oncall: User) -> None:
    client = client_for(oncall)
    response = client.post(url(held), {"note": ""}, follow=True)
    assert response.redirect_chain == [(f"/rollbacks/{held.pk}/", 302)]
    assert "Say what was done by hand: it goes into the record." in response.content.decode()
    assert "at most 2000" in client.post(url(held), {"note": "x" * 2001}, follow=True).content.decode()
    assert client.post("/rollbacks/999/settle/", {"note": "x"}).status_code == 404
    assert again(held).state == "held"
