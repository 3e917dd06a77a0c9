"""What --local began and could not end is taken on from where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from rollbacks import actions
from rollbacks.models import Rollback, System
from tests.conftest import again, git, manifest_text
from tests.rollbacks.commands.conftest import Give, Manage

TESTS = "echo trying; while [ ! -e {go} ]; do sleep 0.05; done"


def test_it_goes_on_after_ctrl_c(
    manage: Manage, system: System, checkout: Path, tmp_path: Path, tech_lead: User, request: pytest.FixtureRequest
) -> None:
    go = tmp_path / "go"
    actions.add_system(by=None, text=manifest_text(checkout, test=TESTS.format(go=go)))
    planned: Rollback = request.getfixturevalue("planned")  # of the manifest as it is now
    with manage.begun("approve", planned.pk, "--as", "techlead", "--local", "--wait") as command:
        command.until_said("  5. Run the system's own tests on what is staged: running")
        command.interrupt()
        said = command.ended()
    assert said.code == 130
    assert f"Rollback {planned.pk} stays where it is: python manage.py carry {planned.pk} takes it on" in said.err
    assert "Traceback" not in said.err
    assert again(planned).state == "running"
    assert git(checkout, "show", "-s", "--format=%s") == "Break it", "nothing was switched"

    go.touch()
    said = manage("carry", planned.pk, "--json")
    assert said.code == 0, said
    assert (said.json["id"], said.json["state"]) == (planned.pk, "monitoring")
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")


@pytest.mark.django_db(transaction=True)
def test_it_starts_what_was_approved_and_never_started(give: Give, approved: Rollback) -> None:
    assert give("carry", approved.pk).code == 0
    assert again(approved).state == "monitoring"


def test_what_is_over_stays_over(give: Give, planned: Rollback, oncall: User) -> None:
    actions.cancel(planned.pk, by=oncall)
    said = give("carry", planned.pk, "--json")
    assert (said.code, said.json["state"]) == (1, "cancelled")
