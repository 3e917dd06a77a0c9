"""My channels: added, proven by a code, removed; wishes and subscriptions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Channel, Message, Preference, Subscription
from portal.ledger.models import Ledger

ClientFor = Callable[[User], Client]
URL = "/notifications/channels/"
SECRET = "json://robot:hook-secret-token@127.0.0.1:9/room"


def add(client: Client, **changes: str) -> Any:
    return client.post(URL, {"way": "email", "label": "Phone", "address": "me@example.org", **changes}, follow=True)


def code() -> str:
    found = re.match(r"\d{6}", Message.objects.latest("pk").text)
    assert found
    return found[0]


def test_a_channel_is_used_once_its_code_is_typed_in(client_for: ClientFor, engineer: User) -> None:
    client = client_for(engineer)
    assert "A code is on its way" in add(client).content.decode()
    channel = Channel.objects.get()
    assert (channel.person, channel.verified_at) == (engineer, None)
    wrong = "000000" if code() != "000000" else "000001"
    page = client.post(f"{URL}{channel.pk}/prove/", {"code": wrong}, follow=True).content.decode()
    assert "This is not the code" in page
    client.post(f"{URL}{channel.pk}/prove/", {"code": code()})
    assert Channel.objects.get().verified_at is not None


def test_after_five_guesses_the_code_holds_no_more(client_for: ClientFor, engineer: User) -> None:
    client = client_for(engineer)
    add(client)
    channel, right = Channel.objects.get(), code()
    wrong = "000000" if right != "000000" else "000001"
    for _ in range(5):
        client.post(f"{URL}{channel.pk}/prove/", {"code": wrong})
    page = client.post(f"{URL}{channel.pk}/prove/", {"code": right}, follow=True).content.decode()
    assert "The code is too old" in page
    assert Channel.objects.get().verified_at is None


def test_secrets_are_masked_on_the_page_and_in_the_ledger(settings: Any, client_for: ClientFor, engineer: User) -> None:
    settings.NOTIFY_PRIVATE_OK = True
    page = add(client_for(engineer), way="apprise", label="<script>x</script>", address=SECRET).content.decode()
    assert Channel.objects.get().address == SECRET
    assert "<script>x" not in page
    rows = " ".join(f"{row.label} {row.details} {row.note}" for row in Ledger.objects.all())
    assert "json://…" in rows
    assert "hook-secret-token" not in page + rows


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("json://127.0.0.1:9/", "own network"),
        ("json://[::1]/", "own network"),
        ("json://169.254.169.254/latest", "own network"),
        ("mailtos://u:p@gmail.com?smtp=10.0.0.1", "own network"),
        ("syslog://", "reaches nobody"),
        ("hello", "does not understand"),
    ],
)
def test_bad_addresses(client_for: ClientFor, engineer: User, address: str, said: str) -> None:
    response = add(client_for(engineer), way="apprise", address=address)
    assert response.status_code == 422
    assert said in response.content.decode()
    assert Channel.objects.count() == 0


def test_stranger(client: Client, client_for: ClientFor, engineer: User, devops: User, stranger: User) -> None:
    add(client_for(engineer))
    pk = Channel.objects.get().pk
    assert client.get(URL).status_code == 302
    assert add(client_for(stranger)).status_code == 403
    for deed in ("code", "prove", "first", "remove"):
        assert client_for(devops).post(f"{URL}{pk}/{deed}/", {"code": code()}).status_code == 404
        assert client_for(engineer).get(f"{URL}{pk}/{deed}/").status_code == 405
    assert "me@example.org" not in client_for(devops).get(URL).content.decode()
    assert Channel.objects.get().verified_at is None


def test_wishes(client_for: ClientFor, engineer: User) -> None:
    typed = {"events": ["declared"], "severities": ["critical"], "zone": "Europe/Stockholm", "quiet_from": "22:00"}
    client = client_for(engineer)
    assert client.post(f"{URL}wishes/", typed).status_code == 422
    assert client.post(f"{URL}wishes/", {**typed, "quiet_to": "07:00", "zone": "Mars"}).status_code == 422
    client.post(f"{URL}wishes/", {**typed, "quiet_to": "07:00"})
    kept = Preference.objects.get()
    assert kept.wants("declared", "critical")
    assert not kept.wants("moved", "critical")
    assert not kept.wants("declared", "high")


def test_only_those_who_speak_to_stakeholders_subscribe_others(
    client_for: ClientFor, engineer: User, manager: User
) -> None:
    typed = {"system": "agents", "email": "boss@example.org"}
    assert client_for(engineer).post(f"{URL}subscribe/", typed).status_code == 403
    client_for(manager).post(f"{URL}subscribe/", typed)
    client_for(manager).post(f"{URL}subscribe/", typed)
    [made] = Subscription.objects.all()
    assert client_for(engineer).post(f"{URL}subscriptions/{made.pk}/end/").status_code == 403
    client_for(manager).post(f"{URL}subscriptions/{made.pk}/end/")
    assert Subscription.objects.count() == 0
    assert client_for(engineer).post(f"{URL}subscribe/", {"email": ""}).status_code == 422
