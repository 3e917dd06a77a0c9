"""A bad release is deployed on the sample, and nowhere else. (That it starts and then answers 500 is held by
test_sample.py, with the real thing.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks import actions
from rollbacks.models import System
from tests.conftest import git, manifest_text

ClientFor = Callable[[User], Client]
URL = "/systems/agents/break/"


@pytest.fixture
def sample(matrix: None, settings: Any, tmp_path: Path) -> System:
    """Where `up` lays it out, while its service manager does not run."""
    settings.HOME = tmp_path / "home"
    return actions.add_system(by=None, text=manifest_text(settings.HOME / "sample" / "agents"))[0]


def test_a_real_system_is_left_alone(client_for: ClientFor, system: System, checkout: Path, oncall: User) -> None:
    before = git(checkout, "rev-parse", "HEAD")
    client = client_for(oncall)
    assert "Deploy a bad release" not in client.get("/systems/agents/").content.decode()
    assert client.post(URL).status_code == 404
    with pytest.raises(CommandError, match="agents is not the sample: it is left alone") as refused:
        call_command("break_sample", "agents")
    assert refused.value.returncode == 2
    with pytest.raises(CommandError, match="there is no sample: make up lays one out"):
        call_command("break_sample")
    with pytest.raises(CommandError, match="there is no system billing"):
        call_command("break_sample", "billing")
    assert git(checkout, "rev-parse", "HEAD") == before
    assert [row.move for row in rows_of(system)] == ["add"]


def test_a_sample_that_does_not_run_is_said_with_what_to_do(
    client_for: ClientFor, sample: System, oncall: User
) -> None:
    said = "the sample's service manager does not run: start it with make up"
    response = client_for(oncall).post(URL, follow=True)
    assert response.redirect_chain == [("/systems/agents/", 302)]
    assert said in response.content.decode().replace("&#x27;", "'")
    with pytest.raises(CommandError, match=said):
        call_command("break_sample")
    assert [row.move for row in rows_of(sample)] == ["add"], "nothing was deployed, and nothing says so"


def test_wrong_method(client_for: ClientFor, sample: System, oncall: User) -> None:
    assert client_for(oncall).get(URL).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, sample: System, auditor: User, stranger: User) -> None:
    assert client.post(URL).headers["Location"].startswith("/accounts/login/")
    for who in (auditor, stranger):
        response = client_for(who).post(URL)
        assert response.status_code == 403
        assert "cannot deploy to the sample" in response.content.decode()
