from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks.models import System
from tests.conftest import manifest_text

ClientFor = Callable[[User], Client]
URL = "/systems/agents/manifest/"


def test_it_works(client_for: ClientFor, system: System, checkout: Path, devops: User) -> None:
    client, text = client_for(devops), manifest_text(checkout, test="invoke test")
    assert "test = &quot;true&quot;" in client.get(URL).content.decode()
    response = client.post(URL, {"text": text}, follow=True)
    assert response.redirect_chain == [("/systems/agents/", 302)]
    assert "agents was changed." in response.content.decode()
    assert System.objects.get().manifest_text == text
    row = rows_of(system).first()
    assert row is not None
    assert (row.move, row.actor, row.data["manifest"]) == ("change", devops, text)


def test_wrong_method(client_for: ClientFor, system: System, devops: User) -> None:
    assert client_for(devops).put(URL).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, system: System, stranger: User, engineer: User) -> None:
    text = system.manifest_text.replace("true", "rm -rf /")
    assert client.post(URL, {"text": text}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer):
        assert "disabled" in client_for(person).get(URL).content.decode()
        response = client_for(person).post(URL, {"text": text})
        assert response.status_code == 403
        assert "cannot add or change a system" in response.content.decode()
    assert System.objects.get().manifest_text == system.manifest_text


def test_who_may_not_change_it_reads_it_without_its_passwords(
    client_for: ClientFor, system: System, engineer: User, devops: User, auditor: User
) -> None:
    url = "http://me:pa@ss/word@127.0.0.1:9001"
    command = "curl -H 'Authorization: Bearer abcdefgh' http://me:pass-word@127.0.0.1/"
    text = system.manifest_text.replace('"true"', json.dumps(command))
    System.objects.update(manifest_text=f"{text}\n# once {url}\n")
    for person in (engineer, auditor):
        shown = client_for(person).get(URL).content.decode()
        assert "# once http://•••@127.0.0.1:9001" in shown
        assert not any(secret in shown for secret in ("ss/word", "pass-word", "abcdefgh"))
        assert "secrets = [&quot;.env&quot;]" in shown
    shown = client_for(devops).get(URL).content.decode()
    assert url in shown, "who saves it has to have it whole"
    assert "pass-word" in shown


def test_another_name(client_for: ClientFor, system: System, devops: User) -> None:
    """The name is the system's identity: a form about one system never changes or adds another."""
    text = system.manifest_text.replace('name = "agents"', 'name = "billing"')
    response = client_for(devops).post(URL, {"text": text})
    assert "The name stays agents" in response.content.decode()
    assert System.objects.get().name == "agents"


def test_bad_input(client_for: ClientFor, system: System, devops: User) -> None:
    client = client_for(devops)
    text = system.manifest_text.replace("secrets = ", "secret = ") + "\n[servce]\n"
    shown = client.post(URL, {"text": text}).content.decode()
    assert "line 7, [system] secret: there is no such key" in shown
    assert "[servce]: there is no such table" in shown
    assert "[servce]\n" in shown.partition("<textarea")[2], "what was typed is still there"
    assert client.post("/systems/agentz/manifest/", {"text": text}).status_code == 404
    assert System.objects.get().manifest_text == system.manifest_text
