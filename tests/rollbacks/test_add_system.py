from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks.models import System
from tests.conftest import manifest_text

ClientFor = Callable[[User], Client]
URL = "/systems/add/"


def test_it_works(client_for: ClientFor, checkout: Path, tech_lead: User) -> None:
    client = client_for(tech_lead)
    assert "name = &quot;agents&quot;" in client.get(URL).content.decode()
    response = client.post(URL, {"text": manifest_text(checkout)}, follow=True)
    assert response.redirect_chain == [("/systems/agents/", 302)]
    assert "agents was added." in response.content.decode()
    system = System.objects.get()
    assert (system.name, system.host, system.environment) == ("agents", "local", "production")
    row = rows_of(system).get()
    assert (row.move, row.actor, row.data["manifest"]) == ("add", tech_lead, system.manifest_text)


def test_by_a_file(client_for: ClientFor, checkout: Path, devops: User) -> None:
    upload = SimpleUploadedFile("system.toml", manifest_text(checkout).encode())
    response = client_for(devops).post(URL, {"text": "what the field said", "file": upload})
    assert response.headers["Location"] == "/systems/agents/"


def test_wrong_method(client_for: ClientFor, tech_lead: User) -> None:
    assert client_for(tech_lead).delete(URL).status_code == 405


def test_stranger(
    client: Client, client_for: ClientFor, checkout: Path, stranger: User, oncall: User, auditor: User
) -> None:
    text = manifest_text(checkout)
    assert client.post(URL, {"text": text}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, oncall, auditor):
        assert "disabled" in client_for(person).get(URL).content.decode()
        response = client_for(person).post(URL, {"text": text})
        assert response.status_code == 403
        assert "this needs one of the roles Tech Lead, DevOps" in response.content.decode()
    assert not System.objects.exists()


def test_a_known_name_is_changed(client_for: ClientFor, system: System, checkout: Path, tech_lead: User) -> None:
    text = manifest_text(checkout, test="invoke test")
    assert "agents was changed." in client_for(tech_lead).post(URL, {"text": text}, follow=True).content.decode()
    assert System.objects.get().manifest.commands["test"] == "invoke test"
    assert [row.move for row in rows_of(system)] == ["change", "add"]


def test_as_a_browser_sends_it(client_for: ClientFor, system: System, tech_lead: User) -> None:
    client_for(tech_lead).post(URL, {"text": system.manifest_text.replace("\n", "\r\n")})
    assert [row.move for row in rows_of(system)] == ["add"], "nothing was changed"


def test_bad_input(client_for: ClientFor, checkout: Path, tech_lead: User) -> None:
    text = manifest_text(checkout).replace("backups =", "backup =")
    response = client_for(tech_lead).post(URL, {"text": text})
    shown = response.content.decode()
    assert response.status_code == 422
    assert "line 5, [system] backup: there is no such key" in shown
    assert "(did you mean backups?)" in shown
    assert "[system] backups: is missing and required" in shown
    assert "backup = " in shown, "what was typed is still there"
    for wrong in ("", "name = ", "\x00"):
        client_for(tech_lead).post(URL, {"text": wrong})
    upload = SimpleUploadedFile("system.toml", b"\xff\xfe not toml")
    client_for(tech_lead).post(URL, {"file": upload})
    assert not System.objects.exists()
