from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident
from rollbacks import runner
from rollbacks.models import HealthChange, RestorePoint, Rollback, System
from rollbacks.tools.probe import Health

ClientFor = Callable[[User], Client]
URL = "/systems/agents/"


def test_it_works(
    client_for: ClientFor, point: RestorePoint, watched: Rollback, incident: Incident, oncall: User
) -> None:
    system = System.objects.get()
    runner.look(system, Health(True, True, 200, 1.0, "200 OK"))
    runner.refresh(system)
    shown = client_for(oncall).get(URL).content.decode()
    for said in ("Healthy", "v1", "Release 1", "before 3", "Agents answer 500", f"Rollback {watched.pk}", point.tag):
        assert said in shown
    assert "Go to Rollback" in shown, "while one is active, that is where to go"
    assert "super-secret-token" not in shown


def test_before_anybody_looked(client_for: ClientFor, system: System, oncall: User) -> None:
    shown = client_for(oncall).get(URL).content.decode()
    assert "No worker has looked at it yet." in shown
    assert "No restore point yet." in shown


def test_a_checkout_that_cannot_be_read(client_for: ClientFor, system: System, checkout: Path, oncall: User) -> None:
    checkout.rename(checkout.with_name("moved"))
    runner.refresh(system)
    shown = client_for(oncall).get(URL).content.decode()
    assert f"{checkout} does not exist. Clone the system there" in shown


def test_health_turns(system: System) -> None:
    for ok in (True, True, False, True):
        runner.look(System.objects.get(), Health(ok, True, 200 if ok else 500, 1.0, f"{'200' if ok else '500'}"))
    assert [each.health for each in HealthChange.objects.all()] == ["healthy", "unhealthy", "healthy"]
    runner.look(System.objects.get(), None)
    assert System.objects.get().health == "unknown"


def test_declare_an_incident_on_it(client_for: ClientFor, system: System, engineer: User) -> None:
    client = client_for(engineer)
    assert "agents is unknown" in client.get(URL + "declare/").content.decode()
    words = {"title": "Agents answer 500", "severity": "high", "scope": "multiple"}
    response = client.post(URL + "declare/", words)
    incident = Incident.objects.get()
    assert response.headers["Location"] == f"/incidents/{incident.pk}/"
    assert list(incident.systems.all()) == [system]


def test_declare_bad_input(client_for: ClientFor, system: System, engineer: User) -> None:
    response = client_for(engineer).post(URL + "declare/", {"title": "", "severity": "high", "summary": "Since noon"})
    assert response.status_code == 422
    assert "Since noon" in response.content.decode()
    assert not Incident.objects.exists()


def test_wrong_method(client_for: ClientFor, system: System, oncall: User) -> None:
    assert client_for(oncall).post(URL).status_code == 405
    assert client_for(oncall).delete(URL + "declare/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, system: System, stranger: User, auditor: User) -> None:
    assert client.get(URL).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        shown = client_for(person).get(URL).content.decode()
        assert "this needs the role Engineer or above" in shown, "every button that does nothing says why"
        words = {"title": "x", "severity": "high", "scope": "multiple"}
        response = client_for(person).post(URL + "declare/", words)
        assert response.status_code == 403
        assert "cannot declare an incident" in response.content.decode()
    assert not Incident.objects.exists()


def test_bad_input(client_for: ClientFor, oncall: User) -> None:
    for name in ("agentz", "..", "a%2Fb", "-rf"):
        assert client_for(oncall).get(f"/systems/{name}/").status_code == 404
