"""The system that is rolled back again and again, each time from the same spoiled state, and what is seen of it from
outside: hashes of our own, which share no line with the portal's verification."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User

from portal.supervision import wait_until
from rollbacks import actions, runner
from rollbacks.models import RestorePoint, Rollback, Run, System
from tests.chaos.worker import Cut, carry
from tests.conftest import commit, git
from tests.processes.driver import make_way
from tests.rollbacks.procedures.serving import Served, app, picture
from tests.rollbacks.test_procedures import MORE, keep_environment, make_environment, spoil

PROCEDURES = ("backup", "code", "config", "dependencies", "state", "partial", "full")
WISHES: dict[str, dict[str, Any]] = {"partial": {"component": "planner"}, "state": {"set_logs_aside": True}}
WORDS = "sleep 0.5"  # of the owner's tests
Look = dict[str, Any]


class Bed:
    """`reset()`, ask, let workers carry it, `look()`."""

    def __init__(self, served: Served, oncall: User, tech_lead: User) -> None:
        self.served, self.oncall, self.tech_lead = served, oncall, tech_lead
        self.prepare(served.root, served.root, served.manifest(WORDS))

    def prepare(self, root: Path, known_as: Path, text: str) -> None:
        """`known_as`: where the host itself has the checkout."""
        self.root, self.known_as = root, known_as
        self.smokes = root.parent / "smokes"  # while it is there, the smoke test fails
        self.kept = root.parent / "kept"
        more = f"component_test = '{WORDS}'\nsmoke = 'test ! -e {known_as.parent}/smokes'\n"
        text = text.replace('logs = ["logs"]', MORE).replace("\n[service]", f"{more}\n[service]")
        self.system = self.add(text)
        self.point = self.lay_out()

    def add(self, text: str) -> System:
        return actions.add_system(by=None, text=text)[0]

    def lay_out(self) -> RestorePoint:
        """The good release, its restore point, and then what went wrong, committed and not."""
        (self.root / ".env").chmod(0o600)
        (self.root / "planner.py").write_text("PLAN = 1\n")
        commit(self.root, "Plan")
        self.make_environment()
        point = actions.backup(system=self.system, by=self.oncall)
        self.work(point.run)
        point = RestorePoint.objects.get(pk=point.pk)
        assert point.state == "verified", point.problem
        self.keep_environment(point)
        (self.root / "app.py").write_text(app(2))
        spoil(self.root)
        self.keep()
        return point

    def make_environment(self) -> None:
        make_environment(self.root / ".venv", "1.0")

    def keep_environment(self, point: RestorePoint) -> None:
        keep_environment(self.system, point)

    def keep(self) -> None:
        shutil.copytree(self.root, self.kept, symlinks=True)

    # --- a run ---

    def reset(self) -> None:
        """Spoiled as ever, and served; nothing is left of the run before."""
        make_way(self.system.name)
        self.smokes.unlink(missing_ok=True)
        self.served.manager.stop(10)
        shutil.rmtree(self.root)
        shutil.copytree(self.kept, self.root, symlinks=True)
        git(self.root, "update-index", "-q", "--refresh")
        self.served.start()

    def work(self, run: Run) -> None:
        """A worker that nobody disturbs takes it as far as it goes now."""
        runner.carry(run.pk)

    def begin(self, procedure: str, way: str, cut: Cut) -> Run:
        """A worker may begin; `cut` says where it will be cut off."""
        run = self.approved(procedure)
        if way == "back":
            self.smokes.touch()
        return run

    def end(self, run: Run, cut: Cut) -> float:
        """It is cut off, and brought to its end by others: seconds that this took, 0 when the blow came too late."""
        return carry(run.pk, cut)

    def approved(self, procedure: str) -> Run:
        """Planned and approved by people; or, for a backup, asked for."""
        if procedure == "backup":
            return actions.backup(system=self.system, by=self.oncall, reason="Chaos").run
        rollback = actions.request(
            system=self.system,
            by=self.oncall,
            procedure=procedure,
            target=self.point.tag,
            severity="high",
            scope="multiple",
            reason="Chaos",
            **WISHES.get(procedure, {}),
        )
        self.work(rollback.run)
        rollback = Rollback.objects.get(pk=rollback.pk)
        assert rollback.state == "awaiting_approval", rollback.trouble
        actions.approve(rollback.pk, by=self.tech_lead)
        return Run.objects.get(rollback=rollback)

    # --- from outside ---

    def look(self) -> Look:
        """All that an auditor would compare. Of a commit its tree and its parent: a partial rollback makes its own."""
        seen = picture(self.root)
        del seen["commit"], seen["worktrees"]
        return seen | {
            "tree": git(self.root, "rev-parse", "HEAD^{tree}"),
            "history": git(self.root, "log", "--format=%T"),
            "packages": sorted(path.name for path in (self.root / ".venv").resolve().rglob("*.dist-info")),
            "logs": {path.name: digest(path) for path in files_in(self.root / "logs")},
            "service": self.said(),
            "target": {str(path): digest(path) for path in files_in(self.place(self.point.tag))},
        }

    def said(self) -> str:
        """What the service answers."""
        with urllib.request.urlopen(self.served.health_url, timeout=5) as answer:
            return str(answer.read().decode())

    def look_at_point(self, tag: str) -> Look:
        """A backup's files by content, but for what has the time in it: the list is held against what it lists."""
        place = self.place(tag)
        listed = json.loads((place / "manifest.json").read_text())["files"]
        wrong = [name for name, known in listed.items() if hashed(known) != digest(place / name)]
        varies = ("manifest.json", "DEPLOYED_VERSION.txt", "restore.sh", "listing.jsonl")
        same: Look = {
            str(path.relative_to(place)): digest(path)
            for path in files_in(place)
            if path.name not in varies and path.suffix != ".bundle"
        }
        artifacts = [json.loads(line) for line in (place / "artifacts/listing.jsonl").read_text().splitlines()]
        same["listed"] = [{key: each[key] for key in each if key != "seen"} for each in artifacts]  # inode and ctime
        for bundle in place.rglob("*.bundle"):
            git(self.root, "bundle", "verify", "--quiet", str(bundle))
        return {"wrong": wrong, "files": same, "commit": git(self.root, "rev-parse", f"{tag}^{{commit}}")}

    def place(self, tag: str) -> Path:
        return self.root.parent / "backups" / tag

    def left_behind(self) -> list[str]:
        """What a run must not leave: processes, half-made things, locks."""
        own = self.root / ".rollback"
        found = [f"process {pid}" for pid in self.processes()]
        found += [f"{folder}/{each.name}" for folder in ("commands", "stage") for each in own.glob(f"{folder}/*")]
        found += [str(each.relative_to(self.root)) for each in (self.root / ".git").rglob("*.lock")]
        found += [each.name for each in (self.root.parent / "backups").glob(".*.partial")]
        trees = git(self.root, "worktree", "list", "--porcelain").count("worktree ")
        return found + ([f"{trees} work trees"] if trees != 1 else [])

    def processes(self) -> Iterator[int]:
        """At work on the checkout, beside the service."""
        for each in Path("/proc").glob("[0-9]*"):
            try:
                words = (each / "cmdline").read_bytes().decode(errors="replace")
                here = Path(os.readlink(each / "cwd")).is_relative_to(self.known_as)
                if (here or f"{self.known_as}/.rollback" in words) and not self.serves(int(each.name)):
                    yield int(each.name)
            except OSError:
                continue

    def serves(self, pid: int) -> bool:
        return pid == self.served.pid

    def quiet(self) -> bool:
        return wait_until(lambda: not self.left_behind(), 8)


def files_in(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashed(known: Any) -> str:
    """A list's entry: the hash, or a record that has it."""
    return str(known.get("sha256", "") if isinstance(known, dict) else known)
