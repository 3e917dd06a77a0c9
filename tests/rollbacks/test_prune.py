from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from portal.ledger.models import rows_of
from rollbacks import actions
from rollbacks.models import RestorePoint, System
from tests.conftest import manifest_text

ClientFor = Callable[[User], Client]
URL = "/systems/agents/prune/"
PAGE = "/systems/agents/restore-points/"
SHORT = "\n[retention]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\n"


@pytest.fixture
def points(system: System, checkout: Path) -> list[RestorePoint]:
    """Three, of which the rule keeps the newest."""
    actions.add_system(by=None, text=manifest_text(checkout) + SHORT)
    return [
        RestorePoint.objects.create(
            system=system, tag=f"backup-{days}", state="verified", made_at=timezone.now() - timedelta(days=days)
        )
        for days in (1, 40, 80)
    ]


def states() -> dict[str, str]:
    return dict(RestorePoint.objects.values_list("tag", "state"))


def test_it_works(client_for: ClientFor, points: list[RestorePoint], devops: User) -> None:
    browser = client_for(devops)
    page = browser.get(PAGE).content.decode()
    assert "Remove 2 restore points for good" in page
    assert 'stays: <span class="soft">the newest good (backup)</span>' in page
    response = browser.post(URL, {"tag": ["backup-40", "backup-80"]}, follow=True)
    assert response.redirect_chain == [(PAGE, 302)]
    assert "2 restore points let go of." in response.content.decode()
    assert states() == {"backup-1": "verified", "backup-40": "pruned", "backup-80": "pruned"}
    [row, *_] = rows_of(points[1])
    assert (row.move, row.source, row.target, row.actor) == ("prune", "verified", "pruned", devops)


def test_only_what_the_person_has_read_goes(client_for: ClientFor, points: list[RestorePoint], devops: User) -> None:
    client_for(devops).post(URL, {"tag": ["backup-1", "backup-80"]})
    assert states() == {"backup-1": "verified", "backup-40": "verified", "backup-80": "pruned"}


def test_wrong_method(client_for: ClientFor, points: list[RestorePoint], devops: User) -> None:
    assert client_for(devops).get(URL).status_code == 405
    assert client_for(devops).post(PAGE).status_code == 405


def test_stranger(
    client: Client, client_for: ClientFor, points: list[RestorePoint], stranger: User, engineer: User, auditor: User
) -> None:
    assert client.post(URL).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, engineer, auditor):
        response = client_for(person).post(URL, {"tag": ["backup-80"]})
        assert response.status_code == 403
        assert "cannot remove restore points of agents: this needs one of the roles" in response.content.decode()
    assert "for good</button>" not in client_for(auditor).get(PAGE).content.decode()
    assert set(states().values()) == {"verified"}


def test_wrong_state(client_for: ClientFor, points: list[RestorePoint], devops: User) -> None:
    """Pinned since the page was read: it stays."""
    browser = client_for(devops)
    actions.pin(points[2].pk, by=devops, pinned=True)
    response = browser.post(URL, {"tag": ["backup-80"]}, follow=True)
    assert "0 restore points let go of." in response.content.decode()
    assert states()["backup-80"] == "verified"


def test_bad_input(client_for: ClientFor, points: list[RestorePoint], devops: User) -> None:
    browser = client_for(devops)
    browser.post(URL)
    browser.post(URL, {"tag": ["", "../..", "nothing"]})
    assert browser.post("/systems/nobody/prune/").status_code == 404
    assert browser.get("/systems/nobody/restore-points/").status_code == 404
    assert set(states().values()) == {"verified"}
