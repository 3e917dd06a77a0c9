"""What changed since: an approval is for what was shown. If the system moves between plan and start, nothing is begun;
what moved is said in words, and the votes are void. What the running service writes itself moves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident, Review
from portal.ledger.models import rows_of
from rollbacks import actions, runner
from rollbacks.models import Approval, RestorePoint, Rollback, Run, System
from tests.conftest import again, asked, commit, git, manifest_text

pytestmark = pytest.mark.django_db(transaction=True)

UV = Path(sys.prefix) / "bin" / "uv"
LOCAL = "config/local.json"  # not in git: every host has its own
Change = Callable[[Path], object]


@pytest.fixture
def system(matrix: None, checkout: Path) -> System:
    """The system of all tests, with an environment of its own and a configuration file that git does not know."""
    with (checkout / ".gitignore").open("a") as ignored:
        ignored.write(f"{LOCAL}\n")
    commit(checkout, "Every host has its own configuration")
    (checkout / LOCAL).write_text('{"workers": 2}')
    subprocess.run([UV, "venv", "--quiet", "--offline", "--python", sys.executable, checkout / ".venv"], check=True)
    text = manifest_text(checkout).replace('"config/agents.json"', f'"config/agents.json", "{LOCAL}"')
    return actions.add_system(by=None, text=text)[0]


def edit(path: Path, text: str = "edited\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


def pip_install(root: Path) -> None:
    """A package more in the live environment, as somebody at a terminal would install it."""
    wheel = root.parent / "left_pad-1.3.0-py3-none-any.whl"
    about = "left_pad-1.3.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("left_pad.py", "def pad(text): return text\n")
        packed.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: left-pad\nVersion: 1.3.0\n")
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", "")
    python = root / ".venv" / "bin" / "python"
    subprocess.run([UV, "pip", "install", "--quiet", "--offline", "--no-index", "--python", python, wheel], check=True)


def replace_environment(root: Path) -> None:
    (root / ".venv").rename(root.parent / "other")
    (root / ".venv").symlink_to(root.parent / "other")


CHANGES: dict[str, tuple[Change, str]] = {
    "a commit": (lambda root: commit(root, "Hotfix", app_py="VERSION = 3\n"), "the deployed commit changed"),
    "another branch": (lambda root: git(root, "checkout", "-q", "-b", "hotfix"), "the branch changed"),
    "an edit of code": (lambda root: edit(root / "app.py"), "the work tree changed"),
    "a new file": (lambda root: edit(root / "debug.py"), "the work tree changed"),
    "a file made executable": (lambda root: (root / "app.py").chmod(0o755), "the work tree changed"),
    "an edit of configuration": (lambda root: edit(root / "config/agents.json", " "), "config/agents.json changed"),
    "configuration that git does not know": (lambda root: edit(root / LOCAL, " "), f"{LOCAL} changed"),
    "a secret": (lambda root: edit(root / ".env", "DEBUG=1\n"), ".env changed"),
    "a secret that is gone": (lambda root: (root / ".env").unlink(), ".env changed"),
    "a pip install": (pip_install, "the installed packages changed"),
    "another environment": (replace_environment, "the virtual environment changed"),
    "the target, moved": (lambda root: git(root, "tag", "--force", "v1", "main~1"), "what the target holds changed"),
}


def test_the_approval_is_void_after_each_of_them(
    approved: Rollback, incident: Incident, checkout: Path, tech_lead: User
) -> None:
    """One after the other: after each a new vote, and with it a new approval, until the next one."""
    for number, (what, (change, said)) in enumerate(CHANGES.items(), 1):
        before = again(approved).plan_now
        change(checkout)
        found = git(checkout, "status", "--porcelain", "--branch")

        runner.carry(approved.run.pk)

        after = again(approved)
        assert (after.state, after.approved_at, after.started_at) == ("awaiting_approval", None, None), what
        assert after.plan_now is not None
        assert after.plan_now != before
        assert said in after.plan_now.moved, what
        assert len(after.plan_now.moved) <= 2, "and nothing that did not move"
        assert not after.plan_now.approvals.exists(), "the votes stay with what they were given for"
        assert Approval.objects.count() == number
        assert git(checkout, "status", "--porcelain", "--branch") == found, "nothing was touched"
        row = rows_of(approved).first()
        assert row is not None
        assert (row.move, row.source, row.target, row.actor) == ("void", "approved", "awaiting_approval", None)
        assert said in row.note
        last = incident.timeline.order_by("pk").last()
        assert last is not None
        assert f"The approval of Rollback {after.pk} is void, because the system has changed: " in last.text
        assert said in last.text

        assert actions.approve(approved.pk, by=tech_lead).state == "approved", (
            "the same person may vote on the new plan"
        )


def test_a_new_vote_carries_it_out(
    approved: Rollback, checkout: Path, tech_lead: User, client_for: Callable[[User], Client]
) -> None:
    commit(checkout, "Hotfix", app_py="VERSION = 3\n")
    runner.carry(approved.run.pk)
    shown = client_for(tech_lead).get(f"/rollbacks/{approved.pk}/").content.decode()
    assert "the deployed commit changed" in shown
    assert "Hotfix" in shown, "the new plan leaves it behind, too"
    actions.approve(approved.pk, by=tech_lead)
    runner.carry(approved.run.pk)
    assert again(approved).state == "monitoring", again(approved).trouble
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")


def test_a_change_between_the_plan_and_the_vote_counts_too(planned: Rollback, checkout: Path, tech_lead: User) -> None:
    """The voter has read the plan, and the plan is of before."""
    edit(checkout / "config/agents.json", " ")
    actions.approve(planned.pk, by=tech_lead)
    runner.carry(planned.run.pk)
    assert again(planned).state == "awaiting_approval"


def test_the_old_votes_do_not_count_for_the_new_plan(
    approved: Rollback, checkout: Path, tech_lead: User, tech_lead2: User
) -> None:
    type(approved.rule).objects.filter(pk=approved.rule_id).update(quorum=2)
    edit(checkout / "app.py")
    runner.carry(approved.run.pk)
    actions.approve(approved.pk, by=tech_lead2)
    assert again(approved).state == "awaiting_approval", "one of two, on this plan"
    actions.approve(approved.pk, by=tech_lead)
    assert again(approved).state == "approved"


def test_an_override_is_void_too(planned: Rollback, checkout: Path, oncall: User) -> None:
    actions.override(planned.pk, by=oncall, note="No Tech Lead answers")
    edit(checkout / "app.py")
    runner.carry(planned.run.pk)
    assert again(planned).state == "awaiting_approval"
    assert Review.objects.get().is_open, "that it was overridden stays to be reviewed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root, tag: git(root, "tag", "--delete", tag), "is gone from the repository"),
        (lambda root, tag: git(root, "tag", "--force", tag, "v1"), "names another commit than"),
        (lambda root, tag: edit(root.parent / "backups" / tag / "DEPLOYED_VERSION.txt"), "has changed since"),
    ],
    ids=["its tag deleted", "its tag moved", "a byte changed"],
)
def test_a_restore_point_that_broke_meanwhile_is_refused(
    system: System, checkout: Path, oncall: User, tech_lead: User, change: Callable[[Path, str], object], said: str
) -> None:
    """There is no new plan to vote on then: see docs/decisions/0005."""
    point = actions.backup(system=system, by=oncall)
    runner.carry(point.run.pk)
    commit(checkout, "Worse", app_py="VERSION = 3\n")
    rollback = asked(system, oncall, target=point.tag)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    assert RestorePoint.objects.get().state == "verified"
    change(checkout, point.tag)
    runner.carry(rollback.run.pk)
    after = again(rollback)
    assert after.state == "refused"
    assert f"Restore point {point.tag} is broken: " in after.trouble
    assert said in after.trouble
    assert "Choose another one." in after.trouble
    assert git(checkout, "show", "-s", "--format=%s") == "Worse"


def test_a_target_whose_tag_was_deleted_is_refused(approved: Rollback, checkout: Path) -> None:
    git(checkout, "tag", "--delete", "v1")
    runner.carry(approved.run.pk)
    assert again(approved).state == "refused"
    assert "knows no commit, tag or branch 'v1'" in again(approved).trouble


# --- what the service writes ----------------------------------------------------------------------------------------


def test_what_the_service_writes_voids_nothing(approved: Rollback, checkout: Path) -> None:
    edit(checkout / "logs" / "orchestrator.log")
    edit(checkout / "artifacts" / "history.txt")
    edit(checkout / "artifacts" / "runs" / "7.json")
    edit(checkout / ".venv" / "cache.txt")
    (checkout / "app.py").touch()
    assert starts(approved) == ("running", [])


def test_logs_that_git_sees_do_not_void_either(system: System, checkout: Path, oncall: User, tech_lead: User) -> None:
    commit(checkout, "Ignore less", _gitignore=".venv\n.env\n")
    edit(checkout / "logs" / "orchestrator.log")
    rollback = asked(system, oncall)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    edit(checkout / "logs" / "orchestrator.log")
    edit(checkout / "artifacts" / "history.txt")
    assert starts(rollback) == ("running", [])


def starts(rollback: Rollback) -> tuple[str, list[str]]:
    """Its state and what has moved, once a worker has looked whether it may start. (How it ends is not asked here.)"""
    mine = runner.claim(rollback.run.pk)
    assert mine is not None
    runner.start(mine, Run.objects.select_related("rollback", "system").get(pk=mine.run))
    runner.release(mine)
    after = again(rollback)
    assert after.plan_now is not None
    return after.state, after.plan_now.moved


@pytest.mark.parametrize("move", ["approve", "reject", "override"])
def test_nobody_decides_on_a_plan_that_they_have_not_read(
    client_for: Callable[[User], Client],
    planned: Rollback,
    checkout: Path,
    tech_lead: User,
    tech_lead2: User,
    move: str,
) -> None:
    """Their page shows plan 1 while the approval of it becomes void: their click is no vote for plan 2."""
    client, page = client_for(tech_lead), f"/rollbacks/{planned.pk}/"
    read = re.findall('name="digest" value="(.*?)"', client.get(page).content.decode())
    assert read == [planned.plans.get().digest] * 3, "in the three forms that decide"
    actions.approve(planned.pk, by=tech_lead2)
    commit(checkout, "Somebody deploys", app_py="VERSION = 3\n")
    runner.carry(planned.run.pk)

    shown = client.post(f"{page}{move}/", {"note": "Go", "digest": read[0]}, follow=True).content.decode()

    assert "has changed since you read it" in shown
    assert (again(planned).state, Approval.objects.count(), Review.objects.count()) == ("awaiting_approval", 1, 0)
    newest = re.findall('name="digest" value="(.*?)"', shown)
    client.post(f"{page}{move}/", {"note": "Go", "digest": newest[0]})
    assert again(planned).state in ("approved", "rejected")
