"""The switch and its way back, on real repositories and, where a service matters, under a real supervisord."""

from __future__ import annotations

import fcntl
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portal.supervision import wait_until
from rollbacks.procedures import journal, safety, stage, switch, verify
from rollbacks.procedures.base import Context, Request, StepFailed
from rollbacks.procedures.preflight import PREFLIGHT
from rollbacks.procedures.safety import SAFETY
from rollbacks.procedures.stage import ENVIRONMENT, WORKTREE
from rollbacks.procedures.switch import SWITCH
from rollbacks.tools import ToolError, fence, manifest, service
from rollbacks.tools import git as tool
from rollbacks.tools.manifest import Manifest
from tests.conftest import commit, git
from tests.rollbacks.procedures.conftest import Planned, Words, back_up, carry, undo
from tests.rollbacks.procedures.serving import CRASHING, Served, picture, release
from tests.rollbacks.procedures.test_stage import keep

BEFORE = (PREFLIGHT, SAFETY, WORKTREE, ENVIRONMENT)
TAG = "backup-20260301-110000"


def there_and_back(mine: Context) -> None:
    carry(mine, *BEFORE, SWITCH)
    undo(mine, *BEFORE, SWITCH)


def text(path: Path) -> str:
    return path.read_text()


# --- there ----------------------------------------------------------------------------------------------------------


def test_the_target_is_put_in_place(planned: Planned, agents: Manifest, checkout: Path) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH)
    assert text(checkout / "app.py") == "VERSION = 1\n"
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "rev-parse", "main") == mine.facts["safety"]["commit"]  # the branch stays where it was


@pytest.mark.usefixtures("here")
def test_configuration_that_was_edited_on_the_host_stays_with_its_mode(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    config = checkout / "config/agents.json"
    commit(checkout, "Big", config__agents_json='{"model": "big"}')
    config.write_text('{"model": "edited on the host"}')
    config.chmod(0o600)
    carry(planned(agents), *BEFORE, SWITCH)
    assert text(config) == '{"model": "edited on the host"}'
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("here")
def test_configuration_goes_with_the_commit_and_keeps_its_mode(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    config = checkout / "config/agents.json"
    commit(checkout, "Big", config__agents_json='{"model": "big"}')
    config.chmod(0o600)
    carry(planned(agents), *BEFORE, SWITCH)
    assert "small" in text(config)
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("here")
def test_configuration_of_a_restore_point_is_put_in_place(
    planned: Planned, context: Callable[..., Context], agents: Manifest, checkout: Path
) -> None:
    hidden = replace(agents, config=("config/agents.json", "local.json"))
    (checkout / ".git/info/exclude").write_text("local.json\n")
    (checkout / "local.json").write_text('{"then": true}')
    point = back_up(context, hidden, TAG)
    (checkout / "local.json").write_text('{"then": false}')
    mine = planned(hidden, Request(TAG, point, with_configuration=True))
    carry(mine, *BEFORE, SWITCH)
    assert text(checkout / "local.json") == '{"then": true}'
    undo(mine, *BEFORE, SWITCH)
    assert text(checkout / "local.json") == '{"then": false}'


@pytest.mark.usefixtures("here")
def test_secrets_stay_also_when_an_old_release_has_them_in_git(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    git(checkout, "add", "--force", ".env")
    commit(checkout, "Oops", app_py="VERSION = 3\n")
    git(checkout, "tag", "oops")
    git(checkout, "rm", "-q", "--cached", ".env")
    git(checkout, "commit", "-qm", "Take the secret out again")
    (checkout / ".env").write_text("API_TOKEN=rotated-since\n")
    mine = planned(agents, Request("oops"))
    carry(mine, *BEFORE, SWITCH)
    assert text(checkout / ".env") == "API_TOKEN=rotated-since\n"
    undo(mine, *BEFORE, SWITCH)
    assert text(checkout / ".env") == "API_TOKEN=rotated-since\n"


@pytest.mark.usefixtures("here")
def test_a_configuration_file_that_is_a_link_stays_one(
    planned: Planned, context: Callable[..., Context], agents: Manifest, checkout: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared.json"
    (checkout / ".git/info/exclude").write_text("shared.json\n")
    (checkout / "shared.json").symlink_to(shared)
    shared.write_text('{"then": true}')
    linking = replace(agents, config=("shared.json",))
    point = back_up(context, linking, TAG)
    shared.write_text('{"then": false}')
    mine = planned(linking, Request(TAG, point, with_configuration=True))
    carry(mine, *BEFORE, SWITCH)
    assert (text(shared), (checkout / "shared.json").is_symlink()) == ('{"then": true}', True)
    undo(mine, *BEFORE, SWITCH)
    assert (text(shared), (checkout / "shared.json").is_symlink()) == ('{"then": false}', True)


# --- and back -------------------------------------------------------------------------------------------------------


def staged(checkout: Path) -> None:
    (checkout / "app.py").write_text("VERSION = 3\n")
    git(checkout, "add", "app.py")
    (checkout / "app.py").write_text("VERSION = 4\n")  # and edited once more, unstaged


def untracked(checkout: Path) -> None:
    (checkout / "tools").mkdir()
    (checkout / "tools/note.txt").write_text("left by somebody\n")


def deleted(checkout: Path) -> None:
    (checkout / "app.py").unlink()
    git(checkout, "rm", "-q", "config/agents.json")


def modes(checkout: Path) -> None:
    (checkout / "app.py").chmod(0o755)


def links(checkout: Path) -> None:
    (checkout / "app.py").unlink()
    (checkout / "app.py").symlink_to("elsewhere.py")
    (checkout / "current").symlink_to("config")


def added_and_renamed(checkout: Path) -> None:
    git(checkout, "mv", "app.py", "application.py")
    (checkout / "new.py").write_text("NEW = True\n")
    git(checkout, "add", "--intent-to-add", "new.py")


def detached(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")


def other_branch(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "-b", "hotfix/2026-03")


def configured(checkout: Path) -> None:
    (checkout / "config/agents.json").write_text('{"model": "edited on the host"}')
    (checkout / "config/agents.json").chmod(0o600)
    (checkout / ".env").chmod(0o640)


def in_the_way(checkout: Path) -> None:
    """An untracked file where the target has one of its own."""
    git(checkout, "rm", "-q", "app.py")
    git(checkout, "commit", "-qm", "Gone")
    (checkout / "app.py").write_text("mine = True\n")


def nothing(checkout: Path) -> None:
    pass


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "found",
    [
        nothing,
        staged,
        untracked,
        deleted,
        modes,
        links,
        added_and_renamed,
        detached,
        other_branch,
        configured,
        in_the_way,
    ],
)
def test_an_undo_puts_back_what_was_found(
    planned: Planned, agents: Manifest, checkout: Path, found: Callable[[Path], None]
) -> None:
    found(checkout)
    before = picture(checkout)
    there_and_back(planned(agents))
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_an_ignored_file_that_the_target_overwrites_comes_back(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    commit(checkout, "Track data", data_txt="of the release\n")
    git(checkout, "tag", "tracking")
    git(checkout, "rm", "-q", "--cached", "data.txt")
    (checkout / ".gitignore").write_text(".venv\nlogs\nartifacts\n.env\ndata.txt\n")
    git(checkout, "commit", "-qam", "Ignore data")
    (checkout / "data.txt").write_text("of the host\n")
    before = picture(checkout)
    mine = planned(agents, Request("tracking"))
    carry(mine, *BEFORE, SWITCH)
    assert text(checkout / "data.txt") == "of the release\n"
    undo(mine, *BEFORE, SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", ["directory", "link", "missing"])
def test_the_environment_comes_back_as_it_was(planned: Planned, agents: Manifest, checkout: Path, kind: str) -> None:
    commit(checkout, "Need", requirements_txt="tool==1\n")
    git(checkout, "tag", "needs")
    commit(checkout, "Need no more")
    if kind != "missing":
        keep(checkout.parent / "own" if kind == "link" else checkout / ".venv")
    if kind == "link":
        (checkout / ".venv").symlink_to("../own")
    before = picture(checkout)
    mine = planned(agents, Request("needs"))
    kept = stage.kept_environment(agents, mine.goal["lock"])
    keep(kept)
    carry(mine, *BEFORE, SWITCH)
    assert (checkout / ".venv").resolve() == kept
    undo(mine, *BEFORE, SWITCH)
    assert picture(checkout) == before
    undo(mine, SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_configuration_that_the_release_made_is_taken_away_but_not_thrown_away(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    (checkout / ".env").unlink()
    before = picture(checkout)
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH)
    (checkout / ".env").write_text("API_TOKEN=made-at-its-first-start\n")
    undo(mine, *BEFORE, SWITCH)
    assert picture(checkout) == before
    assert text(safety.as_found(mine) / "left/.env") == "API_TOKEN=made-at-its-first-start\n"


@pytest.mark.usefixtures("here")
def test_configuration_that_the_point_brought_where_none_was_is_taken_away(
    planned: Planned, context: Callable[..., Context], agents: Manifest, checkout: Path
) -> None:
    hidden = replace(agents, config=("config/agents.json", "local.json"))
    (checkout / ".git/info/exclude").write_text("local.json\n")
    (checkout / "local.json").write_text("{}")
    point = back_up(context, hidden, TAG)
    (checkout / "local.json").unlink()
    mine = planned(hidden, Request(TAG, point, with_configuration=True))
    carry(mine, *BEFORE, SWITCH)
    assert text(checkout / "local.json") == "{}"
    undo(mine, *BEFORE, SWITCH)
    assert not (checkout / "local.json").exists()


@pytest.mark.usefixtures("here")
def test_files_that_came_since_are_set_aside(planned: Planned, agents: Manifest, checkout: Path) -> None:
    before = picture(checkout)
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH)
    (checkout / "state.json").write_text('{"jobs": 3}')
    undo(mine, *BEFORE, SWITCH)
    assert picture(checkout) == before
    assert text(safety.as_found(mine) / "left/state.json") == '{"jobs": 3}'


@pytest.mark.usefixtures("here")
def test_lines_that_a_log_got_since_stay(planned: Planned, agents: Manifest, checkout: Path) -> None:
    """Also where git does not ignore the logs, nor track them."""
    (checkout / ".gitignore").write_text(".venv\n.env\nartifacts\n")
    git(checkout, "commit", "-qam", "Ignore less")
    (checkout / "logs/app.log").write_text("one\n")
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH)
    (checkout / "logs/app.log").write_text("one\ntwo: what went wrong\n")
    undo(mine, *BEFORE, SWITCH)
    assert text(checkout / "logs/app.log") == "one\ntwo: what went wrong\n"


@pytest.mark.usefixtures("here")
def test_where_nothing_was_switched_there_is_nothing_to_undo(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE)
    (checkout / "app.py").write_text("edited since\n")
    undo(mine, SWITCH)
    assert text(checkout / "app.py") == "edited since\n"


@pytest.mark.usefixtures("here")
def test_what_cannot_be_put_back_is_said(planned: Planned, agents: Manifest, checkout: Path) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH)
    git(checkout, "branch", "--force", "main", "v1")  # somebody moved the branch meanwhile
    with pytest.raises(StepFailed, match=r"The branch main no longer names \w+, where it was found.*its journal is"):
        undo(mine, SWITCH)


@pytest.mark.usefixtures("here")
def test_a_safety_point_that_lost_a_file_is_noticed(planned: Planned, agents: Manifest, checkout: Path) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH)
    (checkout / ".env").write_text("API_TOKEN=changed-since\n")
    (safety.as_found(mine) / "secrets/.env").unlink()
    with pytest.raises(StepFailed, match=r"Configuration is not as it was found: \.env"):
        undo(mine, SWITCH)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", ["directory", "link", "missing"])
def test_what_is_shown_to_be_typed_by_hand_brings_it_back(
    planned: Planned, agents: Manifest, checkout: Path, kind: str
) -> None:
    commit(checkout, "Need", requirements_txt="tool==1\n")
    git(checkout, "tag", "needs")
    commit(checkout, "Need no more")
    if kind != "missing":
        keep(checkout.parent / "own" if kind == "link" else checkout / ".venv")
    if kind == "link":
        (checkout / ".venv").symlink_to("../own")
    (checkout / "app.py").write_text("VERSION = 3\n")
    (checkout / "config/agents.json").write_text('{"model": "edited on the host"}')
    before = picture(checkout)
    mine = planned(agents, Request("needs"))
    keep(stage.kept_environment(agents, mine.goal["lock"]))
    carry(mine, *BEFORE, SWITCH)
    (checkout / ".env").write_text("API_TOKEN=lost\n")
    for line in SWITCH.by_hand(mine):
        subprocess.run(["/bin/sh", "-c", line], check=True, cwd="/", capture_output=True)
    undo(mine, WORKTREE)
    assert picture(checkout) == before


# --- run twice, and cut short ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_run_twice_it_converges(planned: Planned, agents: Manifest, checkout: Path) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE, SWITCH, SWITCH)
    there = picture(checkout)
    carry(mine, SWITCH)
    assert picture(checkout) == there
    undo(mine, SWITCH, SWITCH)
    assert text(checkout / "app.py") == "VERSION = 2\nBROKEN = True\n"


@pytest.mark.usefixtures("here")
def test_one_that_was_killed_in_the_middle_of_its_checkout_is_undone(
    planned: Planned, agents: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the target are there already, HEAD and index are not, and git's lock was left."""
    monkeypatch.setattr(tool, "LOCK_PATIENCE", 0.05)
    git(checkout, "rm", "-q", "app.py")
    git(checkout, "commit", "-qm", "Gone")
    before = picture(checkout)
    mine = planned(agents)
    carry(mine, *BEFORE)
    path = switch.journal_path(mine, "there")
    path.parent.mkdir()
    journal.write(path, {"goal": switch.forward_goal(mine), "old_pid": 0, "began": 0.0})
    (checkout / "app.py").write_text("VERSION = 1\n")
    (checkout / ".git/index.lock").write_bytes(b"half")
    undo(mine, *BEFORE, SWITCH)
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_one_that_was_killed_is_carried_to_its_end_by_the_next(
    planned: Planned, agents: Manifest, checkout: Path
) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE)
    path = switch.journal_path(mine, "there")
    path.parent.mkdir()
    journal.write(path, {"goal": switch.forward_goal(mine), "old_pid": 0, "began": 0.0})
    git(checkout, "checkout", "-q", "--force", "--detach", "v1")  # so far it came
    (checkout / "config/agents.json").write_text("{torn")
    carry(mine, SWITCH)
    assert "small" in text(checkout / "config/agents.json")


def test_two_do_not_switch_at_the_same_time(planned: Planned, agents: Manifest, checkout: Path) -> None:
    """A successor's switch waits for the one that is still at work."""
    mine = planned(agents)
    carry(mine, *BEFORE)
    path = switch.journal_path(mine, "there")
    path.parent.mkdir()
    journal.write(path, {"goal": switch.forward_goal(mine), "old_pid": 0, "began": 0.0})
    args = [sys.executable, "-m", "rollbacks.procedures.switcher", str(path), "1"]
    with (path.parent / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(args, cwd=switch.PROJECT, stdout=subprocess.DEVNULL) as second:
            assert wait_until(lambda: waits_for_a_lock(second.pid), 20)
            assert text(checkout / "app.py") == "VERSION = 2\nBROKEN = True\n"
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.wait(20) == 0
    assert text(checkout / "app.py") == "VERSION = 1\n"


def waits_for_a_lock(pid: int) -> bool:
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[1] == "->" and words[5] == str(pid) for words in lines)


def test_a_worker_that_was_superseded_switches_nothing(planned: Planned, agents: Manifest, checkout: Path) -> None:
    mine = planned(agents, token=3)
    carry(mine, *BEFORE)
    fence.hold(mine.state_dir, 4, "another worker")
    before = picture(checkout)
    with pytest.raises(StepFailed, match=r"Another worker holds this system.*token 4"):
        carry(mine, SWITCH)
    assert picture(checkout) == before


def test_the_switch_imports_nothing_of_the_system(planned: Planned, agents: Manifest, checkout: Path) -> None:
    """A system may have modules that are named like Python's, or be the portal itself."""
    for name in ("json.py", "fcntl.py", "git.py", "rollbacks.py"):
        (checkout / name).write_text("raise SystemExit('imported from the system')\n")
    before = picture(checkout)
    there_and_back(planned(agents))
    assert picture(checkout) == before


@pytest.mark.usefixtures("here")
def test_a_lock_that_a_killed_git_left_is_waited_for_before_the_stop(
    planned: Planned, agents: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three seconds in which it might be somebody's at work would be a part of the outage."""
    monkeypatch.setattr(tool, "LOCK_PATIENCE", 0.1)
    lock, there = checkout / ".git/index.lock", []
    monkeypatch.setattr(service.Nobody, "stop", lambda self, timeout: there.append(lock.exists()))
    mine = planned(agents)
    carry(mine, *BEFORE)
    lock.touch()
    carry(mine, SWITCH)
    assert there == [False]
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")


def test_what_went_wrong_is_in_the_error(planned: Planned, agents: Manifest, checkout: Path, said: Words) -> None:
    mine = planned(agents)
    carry(mine, *BEFORE)
    lost = git(checkout, "rev-parse", "v1:app.py")
    (checkout / ".git/objects" / lost[:2] / lost[2:]).unlink()
    with pytest.raises(StepFailed, match=rf"{lost}.*\(The switch ended with code 1; its journal is .*-there\.json\.\)"):
        carry(mine, SWITCH)
    assert "not put in place: " in str(said)
    undo(mine, SWITCH)
    assert text(checkout / "app.py") == "VERSION = 2\nBROKEN = True\n"


# --- the service ----------------------------------------------------------------------------------------------------


@pytest.fixture
def of(served: Served) -> Manifest:
    return manifest.parse(served.manifest())


def test_the_service_is_stopped_switched_and_started(planned: Planned, of: Manifest, served: Served) -> None:
    old = served.start()
    mine = planned(of)
    carry(mine, *BEFORE)
    assert served.pid == old  # all of that with the service running
    carry(mine, SWITCH)
    assert served.pid == mine.facts["switch"]["pid"] != old
    assert mine.facts["switch"]["old_pid"] == old
    assert wait_until(served.is_healthy, 10)


def test_run_twice_it_does_not_restart_the_service(planned: Planned, of: Manifest, served: Served, said: Words) -> None:
    served.start()
    mine = planned(of)
    carry(mine, *BEFORE, SWITCH)
    pid = served.pid
    carry(mine, SWITCH)
    assert served.pid == pid == mine.facts["switch"]["pid"]
    assert str(said).endswith("already switched\n")


@pytest.mark.usefixtures("here")
def test_one_whose_last_line_was_never_written_is_recognised(planned: Planned, of: Manifest, served: Served) -> None:
    """Killed between the start and the journal: the successor sees a process that began after all of it."""
    served.start()
    mine = planned(of)
    carry(mine, *BEFORE, SWITCH)
    pid, path = served.pid, switch.journal_path(mine, "there")
    journal.write(path, {key: value for key, value in journal.read(path).items() if key != "done"})
    carry(mine, SWITCH)
    assert served.pid == pid == mine.facts["switch"]["pid"]


def test_a_file_that_a_power_cut_has_emptied_is_put_in_place_again(
    planned: Planned, of: Manifest, served: Served, checkout: Path
) -> None:
    """HEAD is at the target, and the service came up with the host: only one file has lost its content."""
    served.start()
    mine = planned(of)
    carry(mine, *BEFORE, SWITCH)
    path, good = switch.journal_path(mine, "there"), text(checkout / "app.py")
    journal.write(path, {key: value for key, value in journal.read(path).items() if key != "done"})
    (checkout / "app.py").write_text("")
    carry(mine, SWITCH)
    assert text(checkout / "app.py") == good


@pytest.mark.usefixtures("here")
def test_a_service_that_was_stopped_stays_stopped_after_an_undo(planned: Planned, of: Manifest, served: Served) -> None:
    mine = planned(of)
    carry(mine, *BEFORE, SWITCH)
    assert served.pid
    undo(mine, SWITCH)
    assert not served.manager.status().running


@pytest.mark.usefixtures("here")
def test_a_service_that_ran_is_started_even_when_something_could_not_be_put_in_place(
    planned: Planned, of: Manifest, served: Served, checkout: Path
) -> None:
    shutil.rmtree(checkout / "artifacts")
    old = served.start()
    mine = planned(of)
    carry(mine, *BEFORE)
    mine.essence["goal"]["artifacts"] = ["artifacts"]  # which were never staged
    with pytest.raises(StepFailed, match="The switch ended with code 1"):
        carry(mine, SWITCH)
    assert wait_until(served.answers, 10)
    assert served.pid not in (0, old)
    undo(mine, SWITCH)
    assert "release 2" in text(checkout / "app.py")
    assert wait_until(served.answers, 10)


@pytest.mark.usefixtures("here")
def test_a_service_that_was_healthy_is_healthy_again_after_an_undo(
    planned: Planned, served: Served, of: Manifest, checkout: Path
) -> None:
    git(checkout, "tag", "bad")
    git(checkout, "checkout", "-q", "v1")
    served.start()
    mine = planned(of, Request("bad"))
    carry(mine, *BEFORE, SWITCH)
    assert wait_until(lambda: served.answers() and not served.is_healthy(), 10)
    undo(mine, SWITCH)
    assert served.is_healthy()  # the undo has waited for it


@pytest.mark.usefixtures("here")
def test_an_undo_after_which_it_is_not_healthy_as_before_says_so(
    planned: Planned, served: Served, of: Manifest, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "HEALTHY_WITHIN", 0.5)
    git(checkout, "checkout", "-q", "v1")
    served.start()
    mine = planned(of, Request("main"))
    carry(mine, *BEFORE, SWITCH)
    assert wait_until(served.answers, 10)
    served.manager.stop(5)
    with (
        socket.create_server(("127.0.0.1", served.port)),  # somebody else has its port now, and does not answer
        pytest.raises(StepFailed, match="no answer within 2 s"),
    ):
        undo(mine, SWITCH)


@pytest.mark.usefixtures("here")
def test_a_service_that_crashed_when_it_was_found_crashes_again_after_an_undo(
    planned: Planned, served: Served, of: Manifest, checkout: Path
) -> None:
    """As found, and no reason to hold: it was broken before, that is why somebody wanted to roll back."""
    release(checkout, CRASHING)
    served.manager.start()
    assert wait_until(lambda: "BACKOFF" in served.manager.status().detail, 10)
    mine = planned(of)
    before = picture(checkout)
    there_and_back(mine)
    assert picture(checkout) == before
    assert mine.facts["safety"]["running"] is True
    assert served.manager.status().running


@pytest.mark.usefixtures("here")
def test_a_service_about_to_be_started_again_by_its_manager_is_stopped_for_the_switch(
    planned: Planned, served: Served, of: Manifest, checkout: Path
) -> None:
    release(checkout, CRASHING)
    served.manager.start()
    assert wait_until(lambda: "BACKOFF" in served.manager.status().detail, 10)
    carry(planned(of), *BEFORE, SWITCH)
    assert wait_until(served.is_healthy, 10)


def test_a_service_manager_that_goes_away_is_named_and_nothing_is_switched(
    planned: Planned, served: Served, of: Manifest, checkout: Path
) -> None:
    served.start()
    mine = planned(of)
    carry(mine, *BEFORE)
    lost = replace(of, service=replace(of.service, url="unix:///nonexistent.sock"))
    mine.manifest = lost
    with pytest.raises(ToolError, match="cannot be reached at unix:///nonexistent"):
        carry(mine, SWITCH)
    assert "release 2" in text(checkout / "app.py")
    assert served.answers()
