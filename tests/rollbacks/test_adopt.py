from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused
from rollbacks import actions, keeping, runner
from rollbacks.models import RestorePoint, RestorePointState, System
from rollbacks.procedures.known import ROLLBACKS
from rollbacks.tasks import look
from tests.conftest import again, asked, git, manifest_text
from tests.rollbacks.by_hand import NOTHING, by_hand, made_by

ClientFor = Callable[[User], Client]
URL = "/systems/agents/adopt/"
PAGE = "/systems/agents/restore-points/"
OWN = "backup-20260301-110000-by-hand"
SECRETS = "secrets: .env (the guide keeps none)"


@pytest.fixture
def tag(system: System, checkout: Path, transactional_db: None) -> str:
    """A backup that was made by hand, and seen by the host's worker."""
    made = by_hand(checkout)
    runner.refresh(system)
    return made


def test_adding_a_system_in_the_browser_leads_to_the_offer(
    client_for: ClientFor, matrix: None, checkout: Path, devops: User, transactional_db: None
) -> None:
    tag = by_hand(checkout)
    browser = client_for(devops)
    browser.post("/systems/add/", {"text": manifest_text(checkout)})
    look("local")  # as the host's worker is told to at once
    assert "1 backup that was made by hand lies on the host" in browser.get("/systems/agents/").content.decode()
    page = browser.get(PAGE).content.decode()
    assert tag in page
    assert SECRETS in page


def test_it_works(client_for: ClientFor, tag: str, checkout: Path, engineer: User) -> None:
    browser = client_for(engineer)
    originals = {path: path.read_bytes() for path in made_by(checkout)}
    response = browser.post(URL, {"tag": tag}, follow=True)
    point = RestorePoint.objects.get()
    assert response.redirect_chain == [(f"/restore-points/{point.pk}/", 302)]
    assert (point.tag, point.kind, point.state, point.made_by) == (OWN, "hand-made", "creating", engineer)
    assert f'value="{tag}"' not in browser.get(PAGE).content.decode(), "not twice"
    runner.carry(point.run.pk)
    point = RestorePoint.objects.get()
    assert (point.state, point.problem, point.lacks) == ("verified", "", [SECRETS])
    assert point.parts == ["tag", "config/agents.json", "pip freeze", "artifacts"]
    assert point.made_at == datetime(2026, 3, 1, 11, tzinfo=UTC), "its place among the others is that of its state"
    assert [row.move for row in rows_of(point).filter(target__gt="")] == ["verify", "seal", "create"]
    shown = browser.get(f"/restore-points/{point.pk}/").content.decode()
    assert "What it lacks" in shown
    assert SECRETS in shown
    assert {path: path.read_bytes() for path in made_by(checkout)} == originals
    assert git(checkout, "tag", "-l", tag) == tag
    assert tag not in {each["tag"] for each in keeping.hand_made(System.objects.get())}


def test_a_rollback_goes_there_and_its_page_says_what_stays(
    client_for: ClientFor, tag: str, system: System, oncall: User
) -> None:
    point = actions.adopt_backup(system=System.objects.get(), tag=tag, by=oncall)
    runner.carry(point.run.pk)
    rollback = asked(system, oncall, procedure="full", target=point.tag)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "awaiting_approval", again(rollback).trouble
    shown = client_for(oncall).get(rollback.get_absolute_url()).content.decode()
    assert "This restore point was made by hand, and does not hold everything" in shown
    assert SECRETS in shown


def test_a_full_rollback_brings_that_day_back_and_leaves_the_originals_alone(
    system: System, checkout: Path, transactional_db: None, oncall: User, tech_lead: User
) -> None:
    tag = by_hand(checkout, pip=NOTHING)
    runner.refresh(system)
    originals = {path: (path.read_bytes(), path.stat().st_mtime) for path in made_by(checkout)}
    (checkout / "config/agents.json").write_text('{"model": "worse"}')
    git(checkout, "commit", "-qam", "Worse")  # of what git tracks
    (checkout / "artifacts/history.txt").write_text("spoiled\n")
    point = actions.adopt_backup(system=System.objects.get(), tag=tag, by=oncall)
    runner.carry(point.run.pk)
    rollback = asked(system, oncall, procedure="full", target=point.tag)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "monitoring", again(rollback).trouble
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", f"{tag}^{{commit}}")
    assert "small" in (checkout / "config/agents.json").read_text()
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert (checkout / ".env").read_text() == "API_TOKEN=super-secret-token\n", "the guide keeps no secrets: it stays"
    assert {path: (path.read_bytes(), path.stat().st_mtime) for path in made_by(checkout)} == originals


def test_what_fails_leaves_nothing_and_can_be_tried_again(
    client_for: ClientFor, tag: str, checkout: Path, oncall: User
) -> None:
    backups = checkout.parent / "backups"
    backups.write_text("a file where a directory should be")
    browser = client_for(oncall)
    browser.post(URL, {"tag": tag})
    runner.carry(RestorePoint.objects.get().run.pk)
    failed = RestorePoint.objects.get()
    assert failed.state == "failed"
    assert git(checkout, "tag", "-l", "backup-*") == tag
    backups.unlink()
    runner.refresh(System.objects.get())
    browser.post(URL, {"tag": tag})
    second = RestorePoint.objects.get(state="creating")
    assert second.tag == f"{OWN}-2"
    runner.carry(second.run.pk)
    assert RestorePoint.objects.get(pk=second.pk).state == "verified"


def test_when_it_is_let_go_of_the_original_stays(tag: str, checkout: Path, system: System, oncall: User) -> None:
    point = actions.adopt_backup(system=System.objects.get(), tag=tag, by=oncall)
    runner.carry(point.run.pk)
    RestorePoint.objects.filter(pk=point.pk).update(state=RestorePointState.PRUNED)
    assert keeping.remove_pruned(system) == [OWN]
    assert git(checkout, "tag", "-l", "backup-*") == tag
    assert all(path.exists() for path in made_by(checkout))


def test_nobody_can_ask_for_it_as_a_rollback(system: System, oncall: User) -> None:
    assert "adopt" not in ROLLBACKS
    with pytest.raises(MoveRefused, match="There is no procedure 'adopt'"):
        asked(system, oncall, procedure="adopt")


def test_wrong_method(client_for: ClientFor, tag: str, oncall: User) -> None:
    assert client_for(oncall).get(URL).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, tag: str, stranger: User, auditor: User) -> None:
    assert client.post(URL, {"tag": tag}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        assert "this needs the role Engineer or above" in client_for(person).get(PAGE).content.decode()
        response = client_for(person).post(URL, {"tag": tag})
        assert response.status_code == 403
        assert "cannot take over a backup of agents" in response.content.decode()
    assert not RestorePoint.objects.exists()


def test_wrong_state(client_for: ClientFor, tag: str, oncall: User) -> None:
    """Taken over already; and a system that is retired."""
    browser = client_for(oncall)
    browser.post(URL, {"tag": tag})
    refused = browser.post(URL, {"tag": tag}, follow=True).content.decode()
    assert "that was made by hand and could be taken over. There is: none." in refused
    assert RestorePoint.objects.count() == 1
    RestorePoint.objects.update(state=RestorePointState.FAILED)
    System.objects.update(retired=True)
    refused = browser.post(URL, {"tag": tag}, follow=True).content.decode()
    assert "agents is retired: it gets no new restore points." in refused
    assert RestorePoint.objects.count() == 1


def test_bad_input(client_for: ClientFor, tag: str, oncall: User) -> None:
    browser = client_for(oncall)
    for wrong in ("", "v1", "backup-../../etc", "-d", "x" * 4000):
        refused = browser.post(URL, {"tag": wrong}, follow=True).content.decode()
        assert f"There is: {tag}." in refused
    assert browser.post("/systems/nobody/adopt/", {"tag": tag}).status_code == 404
    assert not RestorePoint.objects.exists()
