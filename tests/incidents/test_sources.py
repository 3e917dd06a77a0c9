from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents import arriving
from incidents.models import Source
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
WORDS = {"name": "watch", "kind": "sentry", "severity": "high", "scope": "single", "severities": "{}", "enabled": "on"}


def token_on(page: str) -> str:
    found = re.search(r'<pre class="machine">([\w-]{43})</pre>', page)
    assert found, page
    return found[1]


def test_adding_one_shows_its_token_once(client_for: ClientFor, devops: User) -> None:
    client = client_for(devops)
    response = client.post("/sources/", WORDS)
    token = token_on(response.content.decode())
    source = Source.objects.get()
    assert source.has_token(token)
    assert source.system_label == "project"
    assert token not in str(vars(source)), "only its hash is kept"
    assert response.headers["Cache-Control"] == "no-store"
    assert token not in client.get("/sources/watch/").content.decode()
    assert rows_of(source).get().move == "add"


def test_a_new_token_ends_the_old_one(client_for: ClientFor, devops: User) -> None:
    source, old = arriving.add_source(by=devops, name="watch", kind="generic")
    new = token_on(client_for(devops).post("/sources/watch/rotate/").content.decode())
    source = Source.objects.get()
    assert source.has_token(new)
    assert not source.has_token(old)


def test_changing_it(client_for: ClientFor, devops: User) -> None:
    arriving.add_source(by=devops, name="watch", kind="sentry")
    words = {**WORDS, "name": "sentry", "severities": '{"SEV1": "critical"}', "system_label": ""}
    response = client_for(devops).post("/sources/watch/", words)
    assert response.headers["Location"] == "/sources/sentry/"
    source = Source.objects.get()
    assert (source.name, source.severities, source.system_label) == ("sentry", {"sev1": "critical"}, "project")


def test_wrong_method(client_for: ClientFor, devops: User) -> None:
    arriving.add_source(by=devops, name="watch", kind="generic")
    assert client_for(devops).get("/sources/watch/rotate/").status_code == 405


def test_stranger(client: Client, client_for: ClientFor, devops: User, engineer: User) -> None:
    _, token = arriving.add_source(by=devops, name="watch", kind="generic")
    assert client.get("/sources/").status_code == 302
    other = client_for(engineer)
    assert "this needs one of the roles" in other.get("/sources/").content.decode().lower()
    for url, words in (
        ("/sources/", {**WORDS, "name": "x"}),
        ("/sources/watch/", WORDS),
        ("/sources/watch/rotate/", {}),
    ):
        assert other.post(url, words).status_code == 403
    assert Source.objects.get().has_token(token)


@pytest.mark.parametrize(
    "wrong",
    [{"name": "watch"}, {"name": "a b"}, {"kind": "x"}, {"severities": "[1]"}, {"severities": '{"x": "bad"}'}],
)
def test_bad_input(client_for: ClientFor, devops: User, wrong: dict[str, str]) -> None:
    arriving.add_source(by=devops, name="watch", kind="generic")
    response = client_for(devops).post("/sources/", {**WORDS, "name": "other", **wrong})
    assert response.status_code == 422
    assert "errorlist" in response.content.decode()
    assert Source.objects.count() == 1
