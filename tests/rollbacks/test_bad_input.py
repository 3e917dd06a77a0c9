"""Bad input, and bad luck: each gets a clear message that says what to do, loses nothing, and leaves the system as it
was found. Carried out by the real engine, on a real repository and, where it matters, with a service that runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from portal.supervision import wait_until
from rollbacks import actions, runner
from rollbacks.heartbeat import KEPT, LAST
from rollbacks.models import RestorePoint, Rollback, StepOutput, System
from rollbacks.procedures import base, preflight, stage, switch, switcher, verify
from rollbacks.tools import ToolError, command, fence, files, listing, probe, store
from rollbacks.tools import git as tool
from tests.conftest import again, asked, commit, git, manifest_text
from tests.rollbacks.procedures.serving import CRASHING, SILENT, STUBBORN, Served, app, picture, release, serving

pytestmark = pytest.mark.django_db(transaction=True)


# --- the system, and its rollbacks ----------------------------------------------------------------------------------


@pytest.fixture
def served(checkout: Path) -> Iterator[Served]:
    """v1 answers 200 and so does what is checked out, which runs."""
    release(checkout, app(1), "v1")
    release(checkout, app(2))
    with serving(checkout) as service:
        service.start()
        yield service


@pytest.fixture
def agents(matrix: None, served: Served) -> System:
    return actions.add_system(by=None, text=served.manifest())[0]


Carry = Callable[..., Rollback]


@pytest.fixture
def carry(oncall: User, tech_lead: User) -> Carry:
    """carry(system, target=…): asked for, planned, approved and carried out; as it is then."""

    def to_its_end(system: System, **words: Any) -> Rollback:
        rollback = asked(system, oncall, **words)
        runner.carry(rollback.run.pk)
        if again(rollback).state == "awaiting_approval":
            actions.approve(rollback.pk, by=tech_lead)
            runner.carry(rollback.run.pk)
        return again(rollback)

    return to_its_end


def trying(system: System, words: str) -> System:
    """The system, with another test command."""
    text = system.manifest_text.replace('test = "true"', f"test = {json.dumps(words)}")
    return actions.add_system(by=None, text=text)[0]


class AsFound:
    """A picture of the host, to be compared with: git, configuration, secrets, environment and service."""

    def __init__(self, root: Path, served: Served | None = None) -> None:
        self.root, self.served = root, served
        self.before, self.pid = picture(root), served.pid if served else 0

    def is_untouched(self) -> bool:
        """Not even the service was stopped."""
        return self.is_put_back() and (self.served is None or self.served.pid == self.pid)

    def is_put_back(self) -> bool:
        assert picture(self.root) == self.before
        assert not list((self.root / ".rollback/stage").glob("*"))
        return self.served is None or (self.served.is_healthy() and self.served.manager.status().running)


def said_in(rollback: Rollback, step: str) -> str:
    return "".join(StepOutput.objects.filter(step__run=rollback.run, step__name=step).values_list("text", flat=True))


def states(rollback: Rollback) -> dict[str, str]:
    return {step.name: step.state for step in rollback.run.steps.all()}


# --- what is named --------------------------------------------------------------------------------------------------


def elsewhere(system: System, root: Path) -> System:
    return actions.add_system(by=None, text=manifest_text(root).replace('"agents"', '"elsewhere"'))[0]


@pytest.mark.parametrize("kind", ["missing", "plain", "inside"])
def test_a_root_that_is_no_checkout(system: System, carry: Carry, oncall: User, checkout: Path, kind: str) -> None:
    root = checkout / "config" if kind == "inside" else checkout.parent / kind
    if kind == "plain":
        root.mkdir()
    before = sorted(root.rglob("*"))
    other = elsewhere(system, root)

    rollback = carry(other)
    assert rollback.state == "refused"
    assert rollback.trouble.startswith(f"{root} ")
    assert "correct “root” in its manifest" in rollback.trouble

    point = actions.backup(system=other, by=oncall)
    runner.carry(point.run.pk)
    point = RestorePoint.objects.get(pk=point.pk)
    assert (point.state, point.problem) == ("failed", rollback.trouble)
    assert (root.exists(), sorted(root.rglob("*"))) == (kind != "missing", before)
    assert runner.due() == []


@pytest.mark.parametrize("target", ["--force", "-rf", "../../etc/passwd", "v1; reboot", "v1..main", "a" * 99])
def test_a_target_that_is_no_name(system: System, carry: Carry, checkout: Path, target: str) -> None:
    found = AsFound(checkout)
    rollback = carry(system, target=target)
    assert rollback.state == "refused"
    assert "no name of a commit" in rollback.trouble or "knows no commit, tag or branch" in rollback.trouble
    assert repr(target) in rollback.trouble
    assert found.is_untouched()


def test_a_tag_that_looks_like_an_option(system: System, carry: Carry, checkout: Path) -> None:
    """Somebody has made such a tag: it is a name to git, and never one to us."""
    git(checkout, "update-ref", "refs/tags/--force", "v1")
    found = AsFound(checkout)
    assert carry(system, target="--force").state == "refused"
    assert found.is_untouched()


@pytest.mark.parametrize("name", ["config", "local"])
def test_a_path_that_leaves_the_root_through_a_link(
    system: System, carry: Carry, oncall: User, checkout: Path, name: str
) -> None:
    """The manifest was fine when it was saved; the folder became a link since."""
    outside = checkout.parent / "outside"
    outside.mkdir()
    (outside / "agents.json").write_text('{"of": "somebody else"}')
    text = system.manifest_text.replace('"config/agents.json"', f'"{name}/agents.json"')
    if name == "config":
        shutil.rmtree(checkout / "config")
    (checkout / name).symlink_to(outside)
    actions.add_system(by=None, text=text)
    found = AsFound(checkout)

    rollback = carry(system)
    assert rollback.state == "refused"
    assert f"leads out of {checkout} through a link" in rollback.trouble
    point = actions.backup(system=system, by=oncall)
    runner.carry(point.run.pk)
    assert "through a link" in RestorePoint.objects.get(pk=point.pk).problem
    assert found.is_untouched()
    assert git(checkout, "tag", "-l", "backup-*") == ""
    assert json.loads((outside / "agents.json").read_text()) == {"of": "somebody else"}


# --- restore points -------------------------------------------------------------------------------------------------


@pytest.fixture
def point(system: System, oncall: User, checkout: Path) -> RestorePoint:
    """A verified backup, and a commit on top."""
    made = actions.backup(system=system, by=oncall)
    runner.carry(made.run.pk)
    commit(checkout, "Worse", app_py="VERSION = 3\n")
    return RestorePoint.objects.get(pk=made.pk)


def spoil(system: System, point: RestorePoint) -> Path:
    path = system.manifest.backups / point.tag / "config/config/agents.json"
    path.write_text(path.read_text().replace("small", "smell"))
    return path


def test_a_changed_byte_at_plan_time(system: System, point: RestorePoint, carry: Carry, checkout: Path) -> None:
    path = spoil(system, point)
    found = AsFound(checkout)
    rollback = carry(system, target=point.tag)
    assert rollback.state == "refused"
    assert rollback.trouble == (
        f"Restore point {point.tag} is broken: {path} has changed since the restore point was made. Choose another one."
    )
    assert found.is_untouched()


def test_a_changed_byte_between_plan_and_start(
    system: System, point: RestorePoint, oncall: User, tech_lead: User, checkout: Path
) -> None:
    rollback = asked(system, oncall, target=point.tag, with_configuration=True)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    spoil(system, point)
    found = AsFound(checkout)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "refused"
    assert "has changed since the restore point was made. Choose another one." in again(rollback).trouble
    assert states(rollback) == {}
    assert found.is_untouched()


# --- a repository that lacks something ------------------------------------------------------------------------------


@pytest.fixture
def shallow(checkout: Path) -> Path:
    """The checkout as small hosts have it: `git clone --depth 2`. It knows two commits, and v1 is not one of them."""
    commit(checkout, "Worse", app_py="VERSION = 3\n")
    whole = checkout.rename(checkout.with_name("whole"))
    git(whole.parent, "clone", "-q", "--depth", "2", f"file://{whole}", str(checkout))
    for name in (".env", "artifacts", "logs"):
        (whole / name).rename(checkout / name)
    return checkout


def test_a_shallow_clone_is_backed_up_and_comes_back_where_nothing_is_left(
    system: System, carry: Carry, oncall: User, shallow: Path
) -> None:
    point = actions.backup(system=system, by=oncall)
    runner.carry(point.run.pk)
    point = RestorePoint.objects.get(pk=point.pk)
    assert (point.state, point.problem) == ("verified", "")
    said = "".join(StepOutput.objects.filter(step__run=point.run).values_list("text", flat=True))
    assert f"{shallow} is a shallow clone: what lies before it is not kept" in said

    shutil.rmtree(shallow)
    rollback = carry(system, procedure="full", target=point.tag)
    assert rollback.state == "monitoring", rollback.trouble
    assert git(shallow, "rev-parse", "HEAD") == point.commit
    assert git(shallow, "log", "--format=%s").splitlines() == ["Worse", "Break it"]
    assert (shallow / "app.py").read_text() == "VERSION = 3\n"
    assert (shallow / "artifacts/history.txt").read_text() == "one\n"
    git(shallow, "fsck")


def test_a_shallow_clone_is_rolled_back_to_what_it_has(system: System, carry: Carry, shallow: Path) -> None:
    before = git(shallow, "rev-parse", "HEAD~1")
    (shallow / "note.txt").write_text("left by somebody\n")
    rollback = carry(system, target=before)
    assert rollback.state == "monitoring", rollback.trouble
    assert git(shallow, "rev-parse", "HEAD") == before
    assert (shallow / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    git(shallow, "fsck")


def test_a_shallow_clone_says_how_to_get_what_it_lacks(system: System, carry: Carry, shallow: Path) -> None:
    found = AsFound(shallow)
    rollback = carry(system, target="v1")
    assert rollback.state == "refused"
    assert "knows no commit, tag or branch 'v1'" in rollback.trouble
    _, command, _ = rollback.trouble.split("`")
    assert "It is a shallow clone, which lacks older commits" in rollback.trouble
    assert found.is_untouched()

    subprocess.run(shlex.split(command), check=True, capture_output=True)
    rollback = carry(system, target="v1")
    assert rollback.state == "monitoring", rollback.trouble
    assert (shallow / "app.py").read_text() == "VERSION = 1\n"


def test_a_remote_that_is_down_is_not_waited_for(system: System, carry: Carry, checkout: Path) -> None:
    """Whoever accepts and never answers keeps git waiting for minutes: a rollback has all that it needs here."""
    with socket.create_server(("127.0.0.1", 0)) as dead:
        git(checkout, "remote", "add", "origin", f"http://127.0.0.1:{dead.getsockname()[1]}/agents.git")
        began = time.monotonic()
        unknown = carry(system, target="v0")
        rollback = carry(system)
        assert time.monotonic() - began < 20
        dead.setblocking(False)
        with pytest.raises(BlockingIOError):
            dead.accept()
    assert unknown.state == "refused"
    assert "The remote was not asked" in unknown.trouble
    assert f"`git -C {checkout} fetch --tags`" in unknown.trouble
    assert rollback.state == "monitoring", rollback.trouble
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")


# --- two portals ----------------------------------------------------------------------------------------------------


def test_two_portals_on_one_host(system: System, carry: Carry, oncall: User, tech_lead: User, checkout: Path) -> None:
    """Each counts for itself. What one has approved the other's work makes impossible: a person has to know."""
    other = actions.add_system(by=None, text=system.manifest_text.replace('"agents"', '"agents-too"'))[0]
    rollback = asked(system, oncall)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    for _ in range(6):
        runner.carry(actions.backup(system=other, by=oncall).run.pk)
    found, token = AsFound(checkout), fence.read(checkout / ".rollback")[0]

    runner.carry(rollback.run.pk)
    held = again(rollback)
    assert held.state == "held"
    assert f"has token {token} " in held.trouble
    assert "Nothing more was changed. If two portals manage this host, let only one of them do it" in held.trouble
    assert set(states(held).values()) == {"failed", "waiting"}
    assert found.is_untouched()
    assert fence.read(checkout / ".rollback")[0] == token, "the other one is not fenced off by this"

    actions.revert(rollback.pk, by=oncall, note="Try it again")
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "held", "as long as the other one's token stands there"
    assert carry(other, target="v1").state == "monitoring"
    assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")

    (checkout / ".rollback/fence").unlink()
    found = AsFound(checkout)
    actions.revert(rollback.pk, by=oncall, note="The other portal is switched off, and its fence removed")
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "reverted", again(rollback).trouble
    assert found.is_untouched()


# --- a full disk ----------------------------------------------------------------------------------------------------


class Disk:
    """A small file system, mounted over a directory, that can be filled to its last byte. Where nobody may mount,
    whatever our tools write there fails as it would on a full one."""

    def __init__(self, path: Path, megabytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.full = path, False
        self.filler = path / (".git/filler" if (path / ".git").exists() else "filler")
        path.mkdir(exist_ok=True)
        kept = path.with_name(f"{path.name}.kept")
        shutil.copytree(path, kept, symlinks=True)
        args = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        self.mounted = shutil.which("mount") is not None and subprocess.run(args, capture_output=True).returncode == 0
        if self.mounted:
            shutil.copytree(kept, path, symlinks=True, dirs_exist_ok=True)
        else:
            self.simulate(megabytes, monkeypatch)
        shutil.rmtree(kept)

    def simulate(self, megabytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real_write, real_free, real_unpack = files.write, files.free_bytes, store.write_file
        real_remove = files.remove

        def write(path: Path, content: bytes, mode: int | None = None) -> None:
            if self.full and path.is_relative_to(self.path):
                raise OSError(28, "No space left on device", str(path))
            real_write(path, content, mode)

        def free_bytes(path: Path) -> int:
            return megabytes * 2**20 if path.is_relative_to(self.path) else real_free(path)

        def unpack(kept: Path, new: Path, entry: listing.Entry) -> None:
            if self.full and new.is_relative_to(self.path):
                raise OSError(28, "No space left on device", str(new / entry.path))
            real_unpack(kept, new, entry)

        def remove(path: Path) -> None:
            self.full = self.full and path.name != "reserve"  # then there is that much room
            real_remove(path)

        monkeypatch.setattr(files, "remove", remove)
        monkeypatch.setattr(store, "write_file", unpack)
        monkeypatch.setattr(files, "write", write)
        monkeypatch.setattr(files, "free_bytes", free_bytes)

    def fill(self) -> None:
        self.full = True
        if self.mounted:
            with self.filler.open("ab", buffering=0) as out, suppress(OSError):
                while out.write(b"x" * 65536):
                    pass
            assert files.free_bytes(self.path) == 0

    def clear(self) -> None:
        self.full = False
        self.filler.unlink(missing_ok=True)

    def end(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Disk]]:
    """small(directory): a disk of its own, which preflight takes for big enough unless it is asked not to."""
    disks: list[Disk] = []

    def make(path: Path, spare: int = 0) -> Disk:
        monkeypatch.setattr(preflight, "SPARE", spare)
        disks.append(Disk(path, 12, monkeypatch))
        return disks[-1]

    yield make
    for disk in disks:
        disk.end()


def when_called(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, first: Callable[[], None]) -> None:
    """Do something just before this function of ours does what it does."""
    real = getattr(module, name)

    def called(*args: Any, **words: Any) -> Any:
        first()
        return real(*args, **words)

    monkeypatch.setattr(module, name, called)


@pytest.mark.parametrize("which", ["agents", "backups"])
def test_a_disk_with_too_little_space(
    agents: System, served: Served, carry: Carry, oncall: User, checkout: Path, small: Callable[..., Disk], which: str
) -> None:
    served.manager.stop(5)  # its directory is about to be another one
    small(checkout.parent / which, spare=64 * 2**20)
    served.start()
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "reverted"
    assert "MiB free and 64 MiB are needed. Nothing was changed. Free some space" in rollback.trouble
    assert str(checkout.parent / which) in rollback.trouble
    assert states(rollback)["safety"] == "waiting"
    assert found.is_untouched()

    point = actions.backup(system=agents, by=oncall)
    runner.carry(point.run.pk)
    point = RestorePoint.objects.get(pk=point.pk)
    assert point.state == "failed"
    assert "64 MiB are needed. Nothing was changed. Free some space" in point.problem
    assert git(checkout, "tag", "-l", "backup-*", "failed-*") == ""


@pytest.mark.parametrize(("module", "name"), [(files, "copy"), (store, "keep")])
def test_a_disk_that_fills_up_during_a_backup(
    system: System,
    oncall: User,
    checkout: Path,
    small: Callable[..., Disk],
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
) -> None:
    disk = small(checkout.parent / "backups")
    when_called(monkeypatch, module, name, disk.fill)
    found = AsFound(checkout)
    point = actions.backup(system=system, by=oncall)
    runner.carry(point.run.pk)
    point = RestorePoint.objects.get(pk=point.pk)
    assert point.state == "failed"
    assert "The disk is full: " in point.problem
    assert "No space left on device" in point.problem
    assert "Free some space (old restore points, logs), then ask again." in point.problem
    assert git(checkout, "tag", "-l", "backup-*") == ""
    disk.clear()
    assert {path.name for path in disk.path.iterdir()} <= {"repository.git"}
    assert found.is_untouched()


def test_a_disk_that_fills_up_during_the_safety_point(
    agents: System,
    served: Served,
    carry: Carry,
    checkout: Path,
    small: Callable[..., Disk],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = small(checkout.parent / "backups")
    when_called(monkeypatch, tool, "snapshot", disk.fill)
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "reverted"
    assert rollback.trouble.startswith("Safety point: keep the state as found: The disk is full: ")
    assert found.is_untouched()
    disk.clear()
    assert {path.name for path in disk.path.iterdir()} <= {"repository.git"}
    assert git(checkout, "tag", "-l", "failed-*") == ""
    assert list((checkout / ".rollback/found").iterdir()) == []


def test_a_disk_that_fills_up_while_the_release_is_laid_out(
    agents: System,
    served: Served,
    carry: Carry,
    checkout: Path,
    small: Callable[..., Disk],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.manager.stop(5)
    disk = small(checkout)
    served.start()
    when_called(monkeypatch, tool, "add_worktree", disk.fill)
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "reverted", rollback.trouble
    assert rollback.trouble.startswith("Stage the code: The disk is full: ")
    disk.clear()
    assert found.is_untouched()


def test_a_disk_that_fills_up_while_artifacts_are_unpacked(
    agents: System,
    served: Served,
    carry: Carry,
    oncall: User,
    checkout: Path,
    small: Callable[..., Disk],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (checkout / "artifacts/history.txt").write_bytes(os.urandom(2**20))
    point = actions.backup(system=agents, by=oncall)
    runner.carry(point.run.pk)
    served.manager.stop(5)
    disk = small(checkout)
    served.start()
    when_called(monkeypatch, store, "unpack", disk.fill)
    (checkout / "artifacts/history.txt").write_text("spoiled")
    found = AsFound(checkout, served)
    rollback = carry(agents, procedure="state", target=point.tag)
    assert rollback.state == "reverted", rollback.trouble
    assert rollback.trouble.startswith("Stage the artifacts: The disk is full: ")
    assert "Free some space" in rollback.trouble
    assert states(rollback)["switch"] == "waiting"
    disk.clear()
    assert found.is_untouched()
    assert not list(checkout.rglob("*.partial"))


def test_tests_that_fill_the_disk(
    system: System, carry: Carry, checkout: Path, small: Callable[..., Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They pass, and then the switch has no room for its journal: nothing was stopped yet."""
    disk = small(checkout)
    when_called(monkeypatch, command, "owner", disk.fill)
    found = AsFound(checkout)
    rollback = carry(system)
    assert rollback.state == "reverted", rollback.trouble
    assert rollback.trouble.startswith("Switch: stop, put in place, start: The disk is full: ")
    assert states(rollback)["try"] == "undone"
    assert found.is_untouched()


def test_a_disk_that_fills_up_within_the_switch(
    agents: System,
    served: Served,
    carry: Carry,
    checkout: Path,
    small: Callable[..., Disk],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service is down when it is noticed, and the disk stays full: the way back has its room all the same."""
    served.manager.stop(5)
    commit(checkout, "Larger", data_txt="".join(f"{number}\n" for number in range(100_000)))
    git(checkout, "tag", "--force", "v1")
    git(checkout, "rm", "-q", "data.txt")
    commit(checkout, "Smaller")
    disk = small(checkout)
    served.start()
    rest = iter([disk.fill])  # on the way back it is full already
    when_called(monkeypatch, switcher.Switch, "put_in_place", lambda: next(rest, lambda: None)())
    monkeypatch.setattr(switch, "follow", in_this_process)
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "reverted", rollback.trouble
    assert rollback.trouble.startswith("Switch: stop, put in place, start: The disk is full: ")
    assert "Free some space" in rollback.trouble
    disk.clear()
    assert found.is_put_back()
    assert served.pid != found.pid, "it was stopped, and started again"


def in_this_process(context: base.Context, path: Path) -> tuple[int, str]:
    """The switch, where the test can see what it does; in its own process it says the same last."""
    try:
        switcher.main(path, context.token)
    except (ToolError, OSError) as error:
        return 1, str(error)
    return 0, ""


# --- the service ----------------------------------------------------------------------------------------------------


def test_a_service_that_never_comes_up(
    agents: System, served: Served, carry: Carry, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "HEALTHY_WITHIN", 2)
    release(checkout, SILENT, "v1")
    release(checkout, app(2))
    (checkout / "note.txt").write_text("left by somebody\n")
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "reverted", rollback.trouble
    assert rollback.trouble == (
        "Verify health and smoke test: The service is not healthy after 2 s: connection refused"
    )
    assert found.is_put_back()
    assert set(states(rollback).values()) == {"undone", "waiting"}
    assert rollback.log_entry.outcome == "reverted"
    assert 0 < (rollback.log_entry.outage_seconds or 0) < rollback.log_entry.rollback_seconds


def test_a_service_that_crashes_again_and_again(
    agents: System, served: Served, carry: Carry, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "HEALTHY_WITHIN", 2)
    release(checkout, CRASHING, "v1")
    release(checkout, app(2))
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "reverted", rollback.trouble
    assert "The service does not run: " in rollback.trouble or "is not healthy after 2 s" in rollback.trouble
    assert found.is_put_back()


def test_a_service_that_is_broken_already_is_as_broken_after_an_undo(
    agents: System, served: Served, carry: Carry, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crashing release, and a target that is no better: not held, for it is as it was found."""
    monkeypatch.setattr(verify, "HEALTHY_WITHIN", 1)
    served.manager.stop(5)
    release(checkout, SILENT, "v1")
    release(checkout, CRASHING)
    served.manager.start()
    assert wait_until(lambda: "BACKOFF" in served.manager.status().detail, 10)
    found = AsFound(checkout)
    rollback = carry(agents)
    assert rollback.state == "reverted", rollback.trouble
    assert found.is_put_back()
    assert wait_until(lambda: served.manager.status().running, 10), "its manager goes on trying, as it did"


def test_a_service_manager_that_is_away(agents: System, served: Served, carry: Carry, checkout: Path) -> None:
    found = AsFound(checkout, served)
    text = agents.manifest_text.replace(f"unix://{served.daemon.socket}", "unix:///nonexistent.sock")
    actions.add_system(by=None, text=text)
    rollback = carry(System.objects.get())
    assert rollback.state == "reverted"
    assert "Supervisor cannot be reached at unix:///nonexistent.sock" in rollback.trouble
    assert "Nothing was started or stopped by this. Start supervisord" in rollback.trouble
    assert found.is_untouched()


def test_a_service_that_ignores_term(checkout: Path, matrix: None, carry: Carry) -> None:
    """Its manager ends it after its own patience: the outage is longer by that, and it is the rollback asked for."""
    release(checkout, STUBBORN + app(1), "v1")
    release(checkout, STUBBORN + app(2))
    with serving(checkout, patience=1) as served:
        served.start()
        old = served.pid
        rollback = carry(actions.add_system(by=None, text=served.manifest())[0])
        assert rollback.state == "monitoring", rollback.trouble
        assert served.is_healthy()
        assert served.pid != old
        assert probe.process(old) is None
        assert git(checkout, "rev-parse", "HEAD") == git(checkout, "rev-parse", "v1")
        stopped = float(said_in(rollback, "switch").partition("stopped in ")[2].split()[0])
        assert 1 <= stopped < 3
        assert 0 < (rollback.log_entry.outage_seconds or 0) < 3


# --- the system's own tests -----------------------------------------------------------------------------------------


def test_staged_tests_that_fail(agents: System, served: Served, carry: Carry, checkout: Path) -> None:
    found = AsFound(checkout, served)
    rollback = carry(trying(agents, "echo 1 failed, 41 passed; exit 1"))
    assert rollback.state == "reverted"
    assert rollback.trouble.endswith("ended with code 1: 1 failed, 41 passed")
    assert states(rollback)["switch"] == "waiting"
    assert found.is_untouched()
    assert rollback.log_entry.outage_seconds == 0


def test_a_test_command_that_hangs(
    agents: System, served: Served, carry: Carry, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "COMMAND_SECONDS", 1.0)
    found = AsFound(checkout, served)
    rollback = carry(trying(agents, "echo begun; sleep 600"))
    assert rollback.state == "reverted"
    assert rollback.trouble.endswith("“echo begun; sleep 600” had not ended after 1 s and was ended.")
    assert "begun\n" in said_in(rollback, "try")
    assert states(rollback)["switch"] == "waiting"
    assert found.is_untouched()


def test_a_test_command_that_hangs_and_is_aborted_by_a_person(
    agents: System, served: Served, carry: Carry, checkout: Path, oncall: User
) -> None:
    found = AsFound(checkout, served)
    pid = checkout.parent / "pid"
    waiting = trying(agents, f"echo $$ > {pid}; sleep 600")

    def abort() -> None:
        assert wait_until(pid.exists, 60)
        actions.abort(Rollback.objects.get().pk, by=oncall, note="It hangs")
        connection.close()

    person = threading.Thread(target=abort)
    person.start()
    rollback = carry(waiting)
    person.join()
    assert rollback.state == "reverted"
    assert rollback.trouble == "Aborted by Amara Okafor: It hangs"
    assert "was stopped" in rollback.run.steps.get(name="try").trouble
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert found.is_untouched()


def test_a_test_command_that_prints_100_megabytes(agents: System, served: Served, carry: Carry, checkout: Path) -> None:
    """Not slowed down by us, kept to its first and last part, and no secret in either."""
    (checkout / ".env").write_text("API_TOKEN=super-secret-token\n")
    line = "x" * 79
    words = f"cat .env; yes {line} | head -c 100000000; echo; echo super-secret-token at the end; exit 1"
    began = time.monotonic()
    rollback = carry(trying(agents, words))
    assert time.monotonic() - began < 20
    assert rollback.state == "reverted"
    said = said_in(rollback, "try")
    assert len(said) < KEPT + 2 * LAST
    assert said.startswith(f"$ {words[:20]}")
    assert said.endswith("••• at the end\n")
    (note,) = [each for each in said.splitlines() if each.startswith("… ")]
    assert 98_000_000 < int(note.split()[1]) < 100_000_000
    assert note.endswith("characters are not kept …")
    assert "super-secret-token" not in said.partition("\n")[2]
    assert served.is_healthy()


# --- configuration --------------------------------------------------------------------------------------------------


def test_invalid_json_in_the_target(agents: System, served: Served, carry: Carry, checkout: Path) -> None:
    commit(checkout, "Broken", config__agents_json='{"model": "small",}')
    git(checkout, "tag", "broken")
    commit(checkout, "Whole", config__agents_json='{"model": "small"}')
    found = AsFound(checkout, served)
    rollback = carry(agents, target="broken")
    assert rollback.state == "refused"
    assert rollback.trouble.startswith("config/agents.json would not be valid: ")
    assert "line 1 column 19" in rollback.trouble
    assert rollback.trouble.endswith("Choose another target, or its configuration from a restore point.")
    assert found.is_untouched()


def test_invalid_json_on_the_host_that_would_stay(agents: System, served: Served, carry: Carry, checkout: Path) -> None:
    """Edited by hand and broken: it would be kept, so the plan says no, and says where another one could come from."""
    (checkout / "config/agents.json").write_text("{'model': 'small'}")
    found = AsFound(checkout, served)
    rollback = carry(agents)
    assert rollback.state == "refused"
    assert "config/agents.json would not be valid" in rollback.trouble
    assert "its configuration from a restore point" in rollback.trouble
    assert found.is_untouched()


def test_configuration_that_the_system_itself_finds_invalid(
    agents: System, served: Served, carry: Carry, checkout: Path
) -> None:
    found = AsFound(checkout, served)
    words = 'validate_config = "grep -q big config/agents.json || { echo model is unknown: small; exit 3; }"'
    actions.add_system(by=None, text=agents.manifest_text.replace("[commands]", f"[commands]\n{words}"))
    rollback = carry(System.objects.get())
    assert rollback.state == "reverted"
    assert rollback.trouble.endswith("ended with code 3: model is unknown: small")
    assert states(rollback)["switch"] == "waiting"
    assert found.is_untouched()
    assert os.listdir(checkout / ".rollback/commands") == []
