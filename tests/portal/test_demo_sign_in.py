"""One click, on one's own machine, in demo mode; anywhere else it is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

URL = "/demo/sign-in/"
NEAR: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "localhost"}


@pytest.fixture
def demo(settings: Any, tmp_path: Path, tech_lead: User, stranger: User) -> None:
    account = {"username": "techlead", "name": "Henrik Lindqvist", "role": "Tech Lead", "password": "kept secret"}
    (tmp_path / "demo-accounts.json").write_text(json.dumps([account, {**account, "username": "gone"}]))
    settings.HOME = tmp_path
    settings.DEMO = True


def test_it_works(client: Client, demo: None) -> None:
    page = client.get("/accounts/login/?next=/contacts/", **NEAR).content.decode()
    assert 'value="techlead"' in page
    assert "kept secret" not in page
    response = client.post(URL, {"username": "techlead", "next": "/contacts/"}, **NEAR)
    assert response.headers["Location"] == "/contacts/"
    assert "Henrik Lindqvist" in client.get("/contacts/", **NEAR).content.decode()


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "127.0.0.1"])
def test_names_of_this_machine(client: Client, demo: None, host: str) -> None:
    near = {"REMOTE_ADDR": "::1" if "::" in host else "127.0.0.1", "HTTP_HOST": host}
    assert client.post(URL, {"username": "techlead"}, **near).status_code == 302  # type: ignore[arg-type]


def test_not_outside_the_demo(client: Client, demo: None, settings: Any) -> None:
    settings.DEMO = False
    assert client.post(URL, {"username": "techlead"}, **NEAR).status_code == 404
    assert client.get(URL, **NEAR).status_code == 404
    assert "techlead" not in client.get("/accounts/login/", **NEAR).content.decode()


@pytest.mark.parametrize(
    "far",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "somewhere"},
        {"HTTP_HOST": "portal.example.org"},
        {"HTTP_HOST": "localhost.example.org"},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_FORWARDED": "for=192.0.2.7"},
        {"HTTP_X_FORWARDED_HOST": "portal.example.org"},
    ],
)
def test_not_from_elsewhere(client: Client, demo: None, settings: Any, far: dict[str, Any]) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    asked = {**NEAR, **far}
    assert client.post(URL, {"username": "techlead"}, **asked).status_code == 404
    assert "techlead" not in client.get("/accounts/login/", **asked).content.decode()


def test_wrong_method(client: Client, demo: None) -> None:
    assert client.get(URL, **NEAR).status_code == 405


def test_bad_input(client: Client, demo: None) -> None:
    """Only demo accounts: not others, not ones that are gone or switched off; and never out of the house."""
    for username in ("stranger", "gone", "", "nobody"):
        assert client.post(URL, {"username": username}, **NEAR).status_code == 404
    response = client.post(URL, {"username": "techlead", "next": "https://evil.example.org/"}, **NEAR)
    assert response.headers["Location"] == "/"
    User.objects.filter(username="techlead").update(is_active=False)
    assert client.post(URL, {"username": "techlead"}, **NEAR).status_code == 404


def test_another_site_cannot_press_the_button(demo: None) -> None:
    assert Client(enforce_csrf_checks=True).post(URL, {"username": "techlead"}, **NEAR).status_code == 403
