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
from tests.conftest import commit, git
from tests.processes.driver import make_way
from tests.rollbacks.procedures.serving import Served, app, picture
from tests.rollbacks.test_procedures import MORE, keep_environment, make_environment, spoil

PROCEDURES = ("backup", "code", "config", "dependencies", "state", "partial", "full")
WISHES: dict[str, dict[str, Any]] = {"partial": {"component": "planner"}, "state": {"set_logs_aside": True}}
TRY_SECONDS = 0.5
Look = dict[str, Any]


class Bed:
    """`reset()`, ask, let workers carry it, `look()`."""

    def __init__(self, served: Served, oncall: User, tech_lead: User) -> None:
        self.served, self.root = served, served.root
        self.oncall, self.tech_lead = oncall, tech_lead
        self.smokes = self.root.parent / "smokes"  # while it is there, the smoke test fails
        self.kept = self.root.parent / "kept"
        words = f"sleep {TRY_SECONDS}"
        text = served.manifest(words).replace('logs = ["logs"]', MORE)
        more = f"component_test = '{words}'\nsmoke = 'test ! -e {self.smokes}'\n"
        self.system: System = actions.add_system(by=None, text=text.replace("\n[service]", f"{more}\n[service]"))[0]
        self.point = self.lay_out()

    def lay_out(self) -> RestorePoint:
        """The good release, its restore point, and then what went wrong, committed and not."""
        (self.root / ".env").chmod(0o600)
        (self.root / "planner.py").write_text("PLAN = 1\n")
        commit(self.root, "Plan")
        make_environment(self.root / ".venv", "1.0")
        point = actions.backup(system=self.system, by=self.oncall)
        runner.carry(point.run.pk)
        point = RestorePoint.objects.get(pk=point.pk)
        assert point.state == "verified", point.problem
        keep_environment(self.system, point)
        (self.root / "app.py").write_text(app(2))
        spoil(self.root)
        shutil.copytree(self.root, self.kept, symlinks=True)
        return point

    def reset(self) -> None:
        """Spoiled as ever, and served; nothing is left of the run before."""
        make_way(self.system.name)
        self.smokes.unlink(missing_ok=True)
        self.served.manager.stop(10)
        shutil.rmtree(self.root)
        shutil.copytree(self.kept, self.root, symlinks=True)
        git(self.root, "update-index", "-q", "--refresh")
        self.served.start()

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
        runner.carry(rollback.run.pk)
        rollback = Rollback.objects.get(pk=rollback.pk)
        assert rollback.state == "awaiting_approval", rollback.trouble
        actions.approve(rollback.pk, by=self.tech_lead)
        return Run.objects.get(rollback=rollback)

    # --- from outside ---

    def look(self) -> Look:
        """All that an auditor would compare. Of a commit its tree and its parent: a partial rollback makes its own."""
        seen = picture(self.root)
        del seen["commit"], seen["worktrees"]
        with urllib.request.urlopen(self.served.health_url, timeout=5) as answer:
            said = answer.read().decode()
        return seen | {
            "tree": git(self.root, "rev-parse", "HEAD^{tree}"),
            "history": git(self.root, "log", "--format=%T"),
            "packages": sorted(path.name for path in (self.root / ".venv").resolve().rglob("*.dist-info")),
            "logs": {path.name: digest(path) for path in files_in(self.root / "logs")},
            "service": said,
            "target": {str(path): digest(path) for path in files_in(self.place(self.point.tag))},
        }

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
        found = [f"process {pid}" for pid in self.processes() if pid != self.served.pid]
        found += [f"{folder}/{each.name}" for folder in ("commands", "stage") for each in own.glob(f"{folder}/*")]
        found += [each.name for each in (self.root / ".git").rglob("*.lock")]
        found += [each.name for each in (self.root.parent / "backups").glob(".*.partial")]
        trees = git(self.root, "worktree", "list", "--porcelain").count("worktree ")
        return found + ([f"{trees} work trees"] if trees != 1 else [])

    def processes(self) -> Iterator[int]:
        for each in Path("/proc").glob("[0-9]*"):
            try:
                words = (each / "cmdline").read_bytes().decode(errors="replace")
                if Path(os.readlink(each / "cwd")).is_relative_to(self.root) or f"{self.root}/.rollback" in words:
                    yield int(each.name)
            except OSError:
                continue

    def quiet(self) -> bool:
        return wait_until(lambda: not self.left_behind(), 8)


def files_in(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashed(known: Any) -> str:
    """A list's entry: the hash, or a record that has it."""
    return str(known.get("sha256", "") if isinstance(known, dict) else known)
