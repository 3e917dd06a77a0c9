from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollbacks.procedures import code
from rollbacks.procedures.base import CannotPlan, Context, Plan, Point, Request
from rollbacks.tools import files
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import back_up
from tests.rollbacks.procedures.serving import picture

Make = Callable[..., Context]
TAG = "backup-20260301-110000"


def plan(agents: Manifest, target: str = "v1", **words: Any) -> Plan:
    return code.plan(agents, Request(target, **words))


def package(checkout: Path, name: str, version: str) -> None:
    info = checkout / f".venv/lib/python3.11/site-packages/{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")


# --- what it shows --------------------------------------------------------------------------------------------------


def test_it_shows_what_is_left_behind(agents: Manifest, checkout: Path) -> None:
    shown = plan(agents).shown
    assert (shown["target"]["sha"], shown["target"]["tags"]) == (git(checkout, "rev-parse", "v1"), ["v1"])
    assert (shown["from"]["subject"], shown["branch"]) == ("Break it", "main")
    assert [each["subject"] for each in shown["left_behind"]] == ["Break it"]
    assert shown["brought"] == []
    assert [(each["path"], each["kind"]) for each in shown["files"]] == [("app.py", "modified")]
    assert [step["name"] for step in shown["steps"] if step["outage"]] == ["switch"]


def test_it_shows_what_is_uncommitted(agents: Manifest, checkout: Path) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    (checkout / "note.txt").write_text("left by somebody\n")
    seen = [(each["path"], each["kind"]) for each in plan(agents).shown["uncommitted"]]
    assert seen == [("app.py", "modified"), ("note.txt", "untracked")]


def test_it_shows_configuration_key_by_key_and_no_secret(agents: Manifest, checkout: Path) -> None:
    commit(checkout, "Big", config__agents_json=json.dumps({"model": "big", "api_key": "k2-very-secret"}))
    changes = {each["key"]: (each["from"], each["to"]) for each in plan(agents).shown["configuration"]}
    assert changes == {"model": ('"big"', '"small"'), "api_key": ("•••", "•••")}


def test_it_shows_packages(agents: Manifest, checkout: Path) -> None:
    package(checkout, "tool", "2.0")
    commit(checkout, "Need", requirements_txt="tool==1.0\nother==3\n")
    git(checkout, "tag", "needs")
    commit(checkout, "Up", requirements_txt="tool==2.0\n")
    shown = plan(agents, "needs").shown
    assert [(row["name"], row["from"], row["to"]) for row in shown["packages"]] == [
        ("other", "", "3"),
        ("tool", "2.0", "1.0"),
    ]
    assert shown["environment_kept"] is False


def test_going_forward_is_shown_as_such(agents: Manifest, checkout: Path) -> None:
    git(checkout, "checkout", "-q", "v1")
    shown = plan(agents, "main").shown
    assert [each["subject"] for each in shown["brought"]] == ["Break it"]
    assert (shown["left_behind"], shown["branch"]) == ([], "")


def test_it_changes_nothing(agents: Manifest, checkout: Path) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    before = picture(checkout)
    plan(agents)
    assert picture(checkout) == before
    assert not (checkout / ".rollback").exists()


# --- the digest -----------------------------------------------------------------------------------------------------


def test_the_same_system_has_the_same_digest(agents: Manifest, checkout: Path) -> None:
    before = plan(agents).digest
    git(checkout, "status")  # which refreshes the index
    (checkout / "app.py").touch()
    assert plan(agents).digest == before
    assert len(before) == 64


def committed(checkout: Path) -> None:
    commit(checkout, "Another", app_py="VERSION = 3\n")


def edited(checkout: Path) -> None:
    (checkout / "app.py").write_text("VERSION = 5\n")


def left(checkout: Path) -> None:
    (checkout / "note.txt").write_text("left by somebody\n")


def made_executable(checkout: Path) -> None:
    (checkout / "app.py").chmod(0o755)


def configured(checkout: Path) -> None:
    (checkout / "config/agents.json").write_text(json.dumps({"model": "big"}))


def new_secret(checkout: Path) -> None:
    (checkout / ".env").write_text("API_TOKEN=another\n")


def installed(checkout: Path) -> None:
    package(checkout, "tool", "2.0")


def detached(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")


def moved_tag(checkout: Path) -> None:
    git(checkout, "tag", "--force", "v1", commit(checkout, "Not that one"))
    git(checkout, "reset", "-q", "--hard", "HEAD~1")


def test_what_moves_the_digest(agents: Manifest, checkout: Path) -> None:
    """One after the other: each makes it another plan."""
    changes = (
        committed,
        edited,
        left,
        made_executable,
        configured,
        new_secret,
        installed,
        detached,
        moved_tag,
    )
    seen = {plan(agents).digest}
    for change in changes:
        change(checkout)
        digest = plan(agents).digest
        assert digest not in seen, change.__name__
        seen.add(digest)


def test_an_environment_that_became_a_link_moves_the_digest(agents: Manifest, checkout: Path) -> None:
    before = plan(agents).digest
    (checkout / ".venv").symlink_to("/nowhere")
    assert plan(agents).digest != before


def test_what_the_service_writes_does_not_move_the_digest(agents: Manifest, checkout: Path) -> None:
    (checkout / ".gitignore").write_text(".venv\n.env\n")
    commit(checkout, "Ignore less")
    before = plan(agents).digest
    (checkout / "logs/app.log").write_text("another line\n")
    (checkout / "artifacts/history.txt").write_text("two\n")
    (checkout / "__pycache__").mkdir()
    (checkout / "__pycache__/app.cpython-311.pyc").write_bytes(b"x")
    assert plan(agents).digest == before


def test_the_digest_does_not_depend_on_how_the_target_was_named(agents: Manifest, checkout: Path) -> None:
    assert plan(agents, "v1").digest == plan(agents, git(checkout, "rev-parse", "v1")).digest


def test_asking_for_the_configuration_too_is_another_plan(context: Make, agents: Manifest, checkout: Path) -> None:
    point = back_up(context, agents, TAG)
    commit(checkout, "Big", config__agents_json='{"model": "big"}')
    alone, with_it = (plan(agents, TAG, point=point, with_configuration=asked) for asked in (False, True))
    assert alone.digest != with_it.digest
    assert with_it.essence["goal"]["config"] == {"config/agents.json": "point"}


# --- where configuration comes from ---------------------------------------------------------------------------------


def sources(agents: Manifest, **words: Any) -> dict[str, str]:
    found: dict[str, str] = plan(agents, **words).essence["goal"]["config"]
    return found


def test_configuration_goes_with_the_commit(agents: Manifest) -> None:
    assert sources(agents) == {"config/agents.json": "commit"}


def test_configuration_that_was_edited_on_the_host_stays(agents: Manifest, checkout: Path) -> None:
    configured(checkout)
    assert sources(agents) == {"config/agents.json": "live"}
    assert plan(agents).shown["kept_configuration"] == ["config/agents.json"]


def test_configuration_that_git_does_not_know_stays(agents: Manifest, checkout: Path) -> None:
    assert sources(replace(agents, config=(".env",))) == {".env": "live"}


def test_configuration_of_the_point_is_what_it_was_then(context: Make, agents: Manifest, checkout: Path) -> None:
    configured(checkout)
    point = back_up(context, agents, TAG)
    (checkout / "config/agents.json").write_text('{"model": "huge"}')
    asked = plan(agents, TAG, point=point, with_configuration=True)
    assert asked.essence["goal"]["wanted"] == {"config/agents.json": files.digest('{"model": "big"}')}


# --- what cannot be planned -----------------------------------------------------------------------------------------


def refused(agents: Manifest, target: str = "v1", **words: Any) -> str:
    with pytest.raises(CannotPlan) as refusal:
        plan(agents, target, **words)
    return str(refusal.value)


def test_nothing_to_do_is_said(agents: Manifest, checkout: Path) -> None:
    assert "nothing uncommitted: there is nothing to do" in refused(agents, "main")
    (checkout / "app.py").write_text("VERSION = 3\n")
    assert plan(agents, "main").shown["uncommitted"]  # to take an edit back is something to do


def test_a_target_that_looks_like_an_option_or_a_path_is_refused(agents: Manifest) -> None:
    for target in ("--force", "-b", "v1..main", "../../etc", "HEAD~1; rm -rf /", "", "v1\n", "a b"):
        assert refused(agents, target) == f"{target!r} is no name of a commit, tag or branch."


def test_an_unknown_target_names_near_ones(agents: Manifest) -> None:
    assert refused(agents, "v2").endswith("knows no commit, tag or branch 'v2'. Did you mean v1?")


def test_a_root_that_is_no_checkout_is_refused(agents: Manifest, tmp_path: Path) -> None:
    assert refused(replace(agents, root=tmp_path)).startswith(f"{tmp_path} is no git checkout. Clone the system there")


def test_a_root_inside_of_a_checkout_is_refused(agents: Manifest, checkout: Path) -> None:
    assert "is inside the checkout" in refused(replace(agents, root=checkout / "config"))


def test_a_broken_restore_point_is_refused(context: Make, agents: Manifest) -> None:
    point = back_up(context, agents, TAG)
    (agents.backups / TAG / "DEPLOYED_VERSION.txt").write_text("f" * 40)
    said = refused(agents, TAG, point=point)
    assert said.startswith(f"Restore point {TAG} is broken: ")
    assert said.endswith("DEPLOYED_VERSION.txt has changed since the restore point was made. Choose another one.")


@pytest.mark.parametrize("content", ["{'model': 'small'}", "", "[" * 100_000])
def test_a_target_whose_configuration_is_no_json_is_refused(agents: Manifest, checkout: Path, content: str) -> None:
    commit(checkout, "Broken", config__agents_json=content or " ")
    git(checkout, "tag", "broken")
    commit(checkout, "Whole", config__agents_json="{}")
    said = refused(agents, "broken")
    assert "config/agents.json would not be valid: " in said
    assert said.endswith("Choose another target, or its configuration from a restore point.")


def test_a_target_whose_toml_is_broken_is_refused(agents: Manifest, checkout: Path) -> None:
    commit(checkout, "Broken", app_toml="a = \n")
    git(checkout, "tag", "broken")
    commit(checkout, "Whole", app_toml="a = 1\n")
    assert "app.toml would not be valid" in refused(replace(agents, config=("app.toml",)), "broken")


def test_requirements_that_are_no_text_are_refused(agents: Manifest, checkout: Path) -> None:
    (checkout / "requirements.txt").write_bytes(b"\xff\xfe tool")
    commit(checkout, "Not text")
    git(checkout, "tag", "binary")
    commit(checkout, "Text", requirements_txt="tool==1\n")
    assert "can't decode" in refused(agents, "binary")


def test_a_configuration_folder_that_leads_out_of_the_root_is_refused(agents: Manifest, tmp_path: Path) -> None:
    (agents.root / "outside").symlink_to(tmp_path)
    assert "leads out of" in refused(replace(agents, config=("outside/app.json",)))


def test_a_point_of_another_place_is_refused(agents: Manifest) -> None:
    assert "is not a safe path" in refused(agents, "v1", point=Point("../../etc", "0" * 40, "0" * 64))
