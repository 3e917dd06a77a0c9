"""The one door: sign in, sign out, passwords; and that there is no other."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

ClientFor = Callable[[User], Client]
LOGIN = "/accounts/login/"


@pytest.fixture
def mei(engineer: User) -> User:
    engineer.set_password("a long enough one")
    engineer.save()
    return engineer


@pytest.mark.parametrize("name", ["engineer", "engineer@example.org"])
def test_by_name_or_address(client: Client, mei: User, name: str) -> None:
    response = client.post(LOGIN, {"login": name, "password": "a long enough one", "next": "/contacts/"})
    assert response.headers["Location"] == "/contacts/"
    assert client.get("/contacts/").status_code == 200


def test_wrong_password(client: Client, mei: User) -> None:
    response = client.post(LOGIN, {"login": "engineer", "password": "wrong"})
    assert response.status_code == 200
    assert "not correct" in response.content.decode()
    assert 'value="engineer"' in response.content.decode()


def test_guessing_is_slowed_down(client: Client, mei: User) -> None:
    answers = {client.post(LOGIN, {"login": "engineer", "password": f"wrong {n}"}).status_code for n in range(12)}
    response = client.post(LOGIN, {"login": "engineer", "password": "a long enough one"})
    assert "Too many failed login attempts" in response.content.decode() or 429 in answers


def test_not_out_of_the_house(client: Client, mei: User) -> None:
    typed = {"login": "engineer", "password": "a long enough one", "next": "https://evil.example.org/"}
    assert client.post(LOGIN, typed).headers["Location"] == "/"


def test_sign_out_needs_a_post(client_for: ClientFor, mei: User) -> None:
    client = client_for(mei)
    assert client.get("/accounts/logout/").status_code == 200
    assert client.get("/contacts/").status_code == 200
    assert client.post("/accounts/logout/").headers["Location"] == LOGIN
    assert client.get("/contacts/").status_code == 302


@pytest.mark.parametrize("path", ["signup/", "email/", "confirm-email/", "social/", "login/code/", "3rdparty/"])
def test_nothing_else_is_there(client_for: ClientFor, mei: User, path: str) -> None:
    assert client_for(mei).get(f"/accounts/{path}").status_code == 404


def test_a_forgotten_password(client: Client, mei: User) -> None:
    client.post("/accounts/password/reset/", {"email": "nobody@example.org"})
    assert mail.outbox == []
    response = client.post("/accounts/password/reset/", {"email": "engineer@example.org"}, follow=True)
    assert "Look into your mail" in response.content.decode()
    found = re.search(r"http://testserver(\S+)", str(mail.outbox[0].body))
    assert found is not None
    form = client.get(found[1], follow=True)
    url = form.redirect_chain[-1][0]
    assert "Choose a password" in form.content.decode()
    client.post(url, {"password1": "another long one", "password2": "another long one"})
    assert client.login(username="engineer", password="another long one")


def test_change_of_password(client_for: ClientFor, mei: User) -> None:
    client = client_for(mei)
    shown = client.get("/accounts/password/change/")
    assert shown.status_code == 200
    typed = {"oldpassword": "a long enough one", "password1": "another long one", "password2": "another long one"}
    client.post("/accounts/password/change/", typed)
    assert client.login(username="engineer", password="another long one")


def test_a_first_password(client_for: ClientFor, engineer: User) -> None:
    """An account made without one is sent to choose it."""
    engineer.set_unusable_password()
    engineer.save()
    response = client_for(engineer).get("/accounts/password/change/", follow=True)
    assert "Choose a password" in response.content.decode()


def test_the_admin_has_no_door_of_its_own(client: Client, client_for: ClientFor, engineer: User) -> None:
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0].startswith(LOGIN)
    assert client_for(engineer).get("/admin/", follow=True).status_code == 403


def test_every_page_asks_who_you_are(client: Client, db: None) -> None:
    """Each address of the portal, without exception but the door itself."""
    open_doors = {
        "accounts/login/",
        "accounts/logout/",
        "accounts/inactive/",
        "accounts/password/reset/",
        "accounts/password/reset/done/",
        "accounts/password/reset/key/done/",
        "demo/sign-in/",
    }
    with_a_key_of_their_own = ("in/", "on-call/calendar/", "api/on-call/")  # tools and calendars do not sign in
    for path in paths(get_resolver().url_patterns):
        if path.startswith(with_a_key_of_their_own):
            assert client.get("/" + path).status_code in (401, 404, 405), path
            continue
        if path in open_doors or path.startswith(("admin/", "accounts/password/reset/key/")):
            continue
        response = client.get("/" + path)
        assert response.status_code == 302, path
        assert response.headers["Location"].startswith(LOGIN), path


def paths(patterns: list[URLPattern | URLResolver], before: str = "") -> list[str]:
    found = []
    for each in patterns:
        here = before + str(each.pattern).lstrip("^").rstrip("$")
        if isinstance(each, URLResolver):
            found += paths(each.url_patterns, here)
        else:
            found.append(re.sub(r"<int:\w+>", "1", re.sub(r"<(slug|str|path):\w+>|<\w+>", "x", here)))
    return found


def test_nobody_makes_an_account(client: Client, db: None) -> None:
    typed = {"username": "new", "email": "new@example.org", "password1": "a long one", "password2": "a long one"}
    assert client.post("/accounts/signup/", typed).status_code == 404
    assert not User.objects.exists()
