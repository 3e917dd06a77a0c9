from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollbacks.procedures import adopt, backup, config, dependencies, full, state
from rollbacks.procedures.base import CannotPlan, Context, Point, Request
from rollbacks.procedures.inspection import inspect
from rollbacks.procedures.preflight import hide_own
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.by_hand import NOTHING, by_hand, made_by
from tests.rollbacks.procedures.conftest import Words, back_up, carry, undo
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
SECRETS = "secrets: .env (the guide keeps none)"
COMMITTED = (
    "configuration: config/agents.json.backup is not of this backup, and config/agents.json is as the commit has it"
)
PACKAGES = "packages: requirements.backup.txt is not of this backup"
ARTIFACTS = "artifacts: artifacts-backup-20260301.tar.gz is not of this backup"


@pytest.fixture
def takes(context: Make) -> Callable[..., Point]:
    """takes(manifest, tag): the guide's backup of that tag, taken over."""

    def take(of: Manifest, tag: str) -> Point:
        mine = context(of, goal={"tag": adopt.name_for(tag), "message": f"taken over from {tag}"})
        carry(mine, *adopt.PROCEDURE.steps)
        sealed = mine.facts["seal"]["restore_point"]
        return Point(sealed["tag"], sealed["commit"], sealed["manifest_sha256"])

    return take


Takes = Callable[..., Point]


def lacks(of: Manifest) -> dict[str, list[str]]:
    return {each["tag"]: each["lacks"] for each in adopt.offered(of, 20)}


def test_everything_that_the_guide_keeps_is_in_it(takes: Takes, agents: Manifest, checkout: Path) -> None:
    tag = by_hand(checkout)
    (checkout / "config/agents.json").write_text('{"model": "spoiled"}')  # since then
    (checkout / "artifacts/history.txt").write_text("spoiled\n")
    point = takes(agents, tag)
    place = agents.backups / f"{tag}-by-hand"
    assert point.commit == git(checkout, "rev-parse", f"{tag}^{{commit}}")
    assert json.loads((place / "config/config/agents.json").read_text())["model"] == "small"
    assert (place / "requirements.backup.txt").read_text() == "tool==1.2\n"
    assert (place / "artifacts.tar.gz").read_bytes() == next(checkout.glob("artifacts-backup-*")).read_bytes()
    assert (place / "restore.sh").stat().st_mode & 0o111
    assert backup.check(agents, point) == []
    assert backup.lacking(agents, point) == [SECRETS]


def test_the_originals_stay_as_they_are(takes: Takes, context: Make, agents: Manifest, checkout: Path) -> None:
    tag = by_hand(checkout)
    hide_own(agents)
    git(checkout, "status")
    before, object_before = picture(checkout), git(checkout, "rev-parse", tag)
    takes(agents, tag)
    mine = context(agents, goal={"tag": adopt.name_for(tag), "message": "x"})
    undo(mine, *adopt.PROCEDURE.steps)
    assert picture(checkout) == before
    assert git(checkout, "rev-parse", tag) == object_before
    assert git(checkout, "tag", "-l", "backup-*") == tag, "the portal's own tag is gone, theirs is not"
    assert list(lacks(agents)) == [tag], "it is offered again"


def test_what_was_taken_over_is_not_offered_again(takes: Takes, agents: Manifest, checkout: Path) -> None:
    tag = by_hand(checkout)
    assert inspect(agents)["hand_made"] == [
        {
            "tag": tag,
            "commit": git(checkout, "rev-parse", "HEAD"),
            "at": "2026-03-01T11:00:00+00:00",
            "lacks": [SECRETS],
        }
    ]
    takes(agents, tag)
    assert inspect(agents)["hand_made"] == []


def test_the_portals_own_backups_are_not_made_by_hand(context: Make, agents: Manifest, checkout: Path) -> None:
    back_up(context, agents, "backup-20260301-110000")
    assert adopt.offered(agents, 20) == []
    elsewhere = replace(agents, backups=checkout.parent / "other-host")  # their tags came here with a fetch
    assert adopt.offered(elsewhere, 20) == []


def test_an_older_backup_does_not_get_the_files_of_a_newer_one(takes: Takes, agents: Manifest, checkout: Path) -> None:
    old = by_hand(checkout, "2026-03-01 11:00:00")
    commit(checkout, "Newer", config__agents_json='{"model": "newer"}')
    new = by_hand(checkout, "2026-03-01 15:00:00")
    other = [COMMITTED, SECRETS, PACKAGES, ARTIFACTS]
    assert lacks(agents) == {new: [SECRETS], old: other}
    takes(agents, new)
    assert lacks(agents) == {old: other}, "nor when the newer one was taken over"
    point = takes(agents, old)
    kept = backup.kept_file(agents, point, "config/agents.json")
    assert kept is not None
    assert json.loads(kept)["model"] == "small", "from the commit"
    assert backup.kept_freeze(agents, point) == ""


def test_two_of_one_commit_are_told_apart(agents: Manifest, checkout: Path) -> None:
    old, new = by_hand(checkout, "2026-03-01 11:00:00"), by_hand(checkout, "2026-03-02 11:00:00")
    assert lacks(agents) == {
        new: [SECRETS],
        old: [COMMITTED, SECRETS, PACKAGES],
    }


@pytest.mark.parametrize(
    ("left_out", "named"),
    [("cp", [COMMITTED, SECRETS]), ("pip", [SECRETS, PACKAGES]), ("tar", [SECRETS, ARTIFACTS])],
)
def test_a_step_that_was_left_out_this_time_is_not_made_up_by_an_old_file(
    agents: Manifest, checkout: Path, left_out: str, named: list[str]
) -> None:
    by_hand(checkout, "2026-03-01 11:00:00")
    new = by_hand(checkout, "2026-03-01 15:00:00", without=left_out)
    assert lacks(agents)[new] == named


def test_files_of_a_backup_that_did_not_write_its_version_are_nobodys(agents: Manifest, checkout: Path) -> None:
    """Least of all the older one's, which DEPLOYED_VERSION.txt still names."""
    old = by_hand(checkout, "2026-03-01 11:00:00")
    new = by_hand(checkout, "2026-03-02 11:00:00", without="rev-parse")
    assert lacks(agents) == {new: [COMMITTED, SECRETS, PACKAGES], old: [COMMITTED, SECRETS, PACKAGES]}


def test_a_copy_that_somebody_made_later_before_an_edit_is_not_of_the_backup(agents: Manifest, checkout: Path) -> None:
    tag = by_hand(checkout)
    (checkout / "config/agents.json.backup").write_text('{"model": "tried on a Friday"}')
    assert lacks(agents) == {tag: [COMMITTED, SECRETS]}


def test_an_empty_freeze_is_none(takes: Takes, agents: Manifest, checkout: Path) -> None:
    """Where pip was not found the guide's line leaves an empty file."""
    tag = by_hand(checkout, pip=NOTHING)
    point = takes(agents, tag)
    assert backup.lacking(agents, point) == [SECRETS, "packages: requirements.backup.txt is empty"]
    assert "pip freeze" not in backup.described_point(agents, point.tag)["parts"]


def test_only_so_many_are_looked_at_the_newest_first(agents: Manifest, checkout: Path) -> None:
    by_hand(checkout, "2026-03-01 11:00:00")
    new = by_hand(checkout, "2026-03-02 11:00:00")
    assert [each["tag"] for each in adopt.offered(agents, 1)] == [new]


def test_a_tag_alone_is_a_restore_point_of_the_code(takes: Takes, agents: Manifest, checkout: Path) -> None:
    git(checkout, "tag", "backup-latest", "v1")
    point = takes(agents, "backup-latest")
    assert point.commit == git(checkout, "rev-parse", "v1")
    assert backup.lacking(agents, point) == [
        "configuration: there is no config/agents.json.backup, and config/agents.json is as the commit has it",
        SECRETS,
        "packages: there is no requirements.backup.txt",
        "artifacts: there is no artifacts-backup-YYYYMMDD.tar.gz",
    ]


def test_configuration_that_git_does_not_know_and_nobody_copied_is_lacking(agents: Manifest, checkout: Path) -> None:
    agents = replace(agents, config=("config/local.json",))
    tag = by_hand(checkout)
    said = "configuration: there is no config/local.json.backup, and the commit does not have config/local.json"
    assert lacks(agents)[tag][0] == said


def test_an_archive_that_is_torn_is_left_out_and_named(
    takes: Takes, agents: Manifest, checkout: Path, said: Words
) -> None:
    tag = by_hand(checkout)
    torn = next(checkout.glob("artifacts-backup-*"))
    os.truncate(torn, torn.stat().st_size - 5)
    point = takes(agents, tag)
    words = f"artifacts: {torn.name} is not whole, or not safe to unpack"
    assert backup.lacking(agents, point) == [SECRETS, words]
    assert not (agents.backups / point.tag / "artifacts.tar.gz").exists()
    assert "cannot be read to its end" in str(said)
    assert backup.check(agents, point) == []


@pytest.mark.parametrize(
    ("name", "kind", "leads"),
    [
        ("../outside.txt", tarfile.REGTYPE, ""),
        ("/etc/outside.txt", tarfile.REGTYPE, ""),
        ("artifacts/link", tarfile.SYMTYPE, "../../outside"),
        ("artifacts/link", tarfile.LNKTYPE, "../outside"),
        ("artifacts/pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_an_archive_that_would_lead_out_is_left_out_and_named(
    takes: Takes, agents: Manifest, checkout: Path, said: Words, name: str, kind: bytes, leads: str
) -> None:
    tag = by_hand(checkout)
    made = next(checkout.glob("artifacts-backup-*"))
    with tarfile.open(made, "w:gz") as packed:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, leads
        packed.addfile(member)
    point = takes(agents, tag)
    assert f"artifacts: {made.name} is not whole, or not safe to unpack" in backup.lacking(agents, point)
    assert not (agents.backups / point.tag / "artifacts.tar.gz").exists()
    assert "has a member that is not safe" in str(said)
    assert made.exists()


def test_artifacts_that_the_archive_does_not_hold_are_named(takes: Takes, agents: Manifest, checkout: Path) -> None:
    tag = by_hand(checkout)
    point = takes(replace(agents, artifacts=("artifacts", "models")), tag)
    assert "artifacts: models is not in artifacts-backup-20260301.tar.gz" in backup.lacking(agents, point)


def test_one_who_was_killed_while_gathering_leaves_nothing_behind(
    takes: Takes, context: Make, agents: Manifest, checkout: Path
) -> None:
    tag = by_hand(checkout)
    mine = context(agents, goal={"tag": adopt.name_for(tag), "message": "x"})
    carry(mine, *adopt.PROCEDURE.steps[:4])
    (backup.part(agents, adopt.name_for(tag)) / "config/half").write_text("torn")
    carry(mine, *adopt.PROCEDURE.steps[3:])
    assert not (agents.backups / adopt.name_for(tag) / "config/half").exists()
    assert backup.lacking(agents, Point(adopt.name_for(tag), "", "")) == [SECRETS]


def test_a_tag_that_is_gone_is_refused_before_anything_is_written(agents: Manifest) -> None:
    with pytest.raises(CannotPlan, match=r"There is no tag backup-1 in .* Nothing was changed"):
        adopt.PROCEDURE.plan(agents, Request("backup-1-by-hand"))
    assert not agents.backups.exists()


def test_a_name_that_leads_elsewhere_is_not_offered(agents: Manifest, checkout: Path) -> None:
    git(checkout, "tag", "backup-a/b")
    git(checkout, "tag", "backup-" + "x" * 60)
    assert adopt.offered(agents, 20) == []


def test_a_rollback_to_it_says_what_it_lacks(takes: Takes, agents: Manifest, checkout: Path) -> None:
    tag = by_hand(checkout, without="tar")
    commit(checkout, "Worse", app_py="VERSION = 3\n", config__agents_json='{"model": "worse"}')
    point = takes(agents, tag)
    request = Request(point.tag, point)
    plan = full.plan(agents, request)
    lacking = [SECRETS, "artifacts: there is no artifacts-backup-20260301.tar.gz"]
    assert plan.shown["lacks"] == lacking
    goal = plan.essence["goal"]
    assert (goal["commit"], goal["secrets"], goal["artifacts"]) == (point.commit, [], []), "they stay as they are"
    restored = config.plan(agents, request)
    assert (restored.shown["configuration"][0]["to"], restored.shown["lacks"]) == ('"small"', lacking)
    assert dependencies.plan(agents, request).shown["packages"] == [{"name": "tool", "from": "", "to": "1.2"}]


def test_what_needs_a_part_that_is_lacking_is_refused_in_words(takes: Takes, agents: Manifest, checkout: Path) -> None:
    git(checkout, "tag", "backup-latest", "v1")
    point = takes(agents, "backup-latest")
    request = Request(point.tag, point)
    with pytest.raises(CannotPlan, match=r"holds no artifacts\. Choose another one"):
        state.plan(agents, request)
    with pytest.raises(CannotPlan, match=rf"holds no packages: it was made by hand.* its commit {point.commit[:10]}"):
        dependencies.plan(agents, request)
    of_host = replace(agents, config=("config/local.json",))
    with pytest.raises(CannotPlan, match=r"holds none of config/local\.json"):
        config.plan(of_host, request)


def test_onto_an_empty_directory_it_says_what_has_to_be_put_there(
    takes: Takes, agents: Manifest, checkout: Path
) -> None:
    point = takes(agents, by_hand(checkout))
    elsewhere = replace(agents, root=checkout.parent / "elsewhere")
    plan = full.plan(elsewhere, Request(point.tag, point, elsewhere=True))
    assert (plan.essence["goal"]["anew"], plan.shown["lacks"]) == (True, [SECRETS])


def test_its_restore_script_brings_it_back_and_leaves_the_originals_alone(
    takes: Takes, agents: Manifest, checkout: Path
) -> None:
    point = takes(agents, by_hand(checkout, pip=NOTHING))
    originals = {path: path.read_bytes() for path in made_by(checkout)}
    (checkout / "app.py").write_text("VERSION = 4\n")
    (checkout / "artifacts/history.txt").write_text("spoiled\n")
    script = ["/bin/bash", str(agents.backups / point.tag / "restore.sh")]
    done = subprocess.run(script, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert "the restore point names no packages: the environment stays as it is" in done.stdout
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert (checkout / "artifacts/history.txt").read_text() == "one\n"
    assert (checkout / ".env").read_text() == "API_TOKEN=super-secret-token\n"
    assert {path: path.read_bytes() for path in made_by(checkout)} == originals
