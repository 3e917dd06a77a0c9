from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from rollbacks.models import RestorePoint, Rollback, System

ClientFor = Callable[[User], Client]


def test_it_works(client_for: ClientFor, system: System, auditor: User) -> None:
    System.objects.update(health="unhealthy", health_detail="500 <script>", facts={"commit": "a" * 40, "log": []})
    shown = client_for(auditor).get("/systems/").content.decode()
    assert '<a href="/systems/agents/">' in shown
    assert "Unhealthy" in shown
    assert "500 &lt;script&gt;" in shown
    assert "none yet" in shown, "it has no backup"


def test_backup_and_active_rollback(client_for: ClientFor, point: RestorePoint, planned: Rollback) -> None:
    client = client_for(planned.requested_by)
    response = client.get("/systems/")
    listed = response.context["systems"].get()
    assert (listed.last_backup, listed.active_rollback) == (point.made_at, planned.pk)
    assert f"/rollbacks/{planned.pk}/" in response.content.decode()


def test_a_bad_backup_is_no_good_backup(client_for: ClientFor, point: RestorePoint, oncall: User) -> None:
    RestorePoint.objects.update(bad=True)
    listed = client_for(oncall).get("/systems/").context["systems"].get()
    assert listed.last_backup is None


def test_empty(client_for: ClientFor, oncall: User, tech_lead: User) -> None:
    shown = client_for(tech_lead).get("/systems/").content.decode()
    assert "No system is managed yet." in shown
    assert "Add a system" in shown
    assert "this needs one of the roles Tech Lead, DevOps" in client_for(oncall).get("/systems/").content.decode()


def test_retired_ones_are_not_listed(client_for: ClientFor, system: System, oncall: User) -> None:
    System.objects.update(retired=True)
    assert "/systems/agents/" not in client_for(oncall).get("/systems/").content.decode()
    assert "This system is retired" in client_for(oncall).get("/systems/agents/").content.decode()


def test_wrong_method(client_for: ClientFor, oncall: User) -> None:
    assert client_for(oncall).post("/systems/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, system: System, stranger: User) -> None:
    assert client.get("/systems/").headers["Location"].startswith("/accounts/login/")
    assert client_for(stranger).get("/systems/").status_code == 200, "everybody with an account reads"
