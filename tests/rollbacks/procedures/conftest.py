"""Steps carried out by hand, on a real repository and without a database."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollbacks.procedures import backup, code, journal, planning, switch, switcher
from rollbacks.procedures.base import Context, Point, Procedure, Request, Step
from rollbacks.tools import ToolError, files, manifest, probe, store
from rollbacks.tools.manifest import Manifest
from tests.conftest import manifest_text
from tests.rollbacks.procedures.serving import Served, app, release, serving

Planned = Callable[..., Context]
PlannedBy = Callable[..., Context]


@pytest.fixture
def agents(checkout: Path) -> Manifest:
    """The manifest of `checkout`: no service, no requirements."""
    return manifest.parse(manifest_text(checkout))


@pytest.fixture
def served(checkout: Path) -> Iterator[Served]:
    """The checkout's service, not started yet: v1 answers 200, what is checked out answers 500."""
    release(checkout, app(1), "v1")
    release(checkout, app(2, 500))
    with serving(checkout) as service:
        yield service


class Words(list[str]):
    """What was said, to be searched as one text."""

    def __str__(self) -> str:
        return "".join(self)


@pytest.fixture
def said() -> Words:
    return Words()


@pytest.fixture
def context(said: Words) -> Callable[..., Context]:
    """context(manifest, goal={…}): what a step is given."""

    def make(of: Manifest, **changes: Any) -> Context:
        goal, found = {**planning.STAYS, **changes.pop("goal", {})}, changes.pop("found", {})
        given: dict[str, Any] = {
            "run": 1,
            "token": 1,
            "holder": probe.identity(),
            "safety_tag": "failed-20260301-120000",
            "say": said.append,
            "stopped": lambda: False,
        }
        return Context(manifest=of, essence={"goal": goal, "found": found}, **{**given, **changes})

    return make


@pytest.fixture
def planned(context: Callable[..., Context]) -> Planned:
    """planned(manifest, Request(…)): the context of a code rollback that was planned just now."""

    def make(of: Manifest, request: Request | None = None, **changes: Any) -> Context:
        essence = code.plan(of, request or Request("v1")).essence
        return context(of, goal=essence["goal"], found=essence["found"], **changes)

    return make


@pytest.fixture
def planned_by(context: Callable[..., Context]) -> PlannedBy:
    """planned_by(procedure, manifest, Request(…)): the context of a rollback that was planned just now."""

    def make(procedure: Procedure, of: Manifest, request: Request, **changes: Any) -> Context:
        essence = procedure.plan(of, request).essence
        return context(of, goal=essence["goal"], found=essence["found"], **changes)

    return make


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same switch, without a process of its own, which takes half a second to start."""

    def follow(context: Context, path: Path) -> tuple[int, str]:
        try:
            switcher.main(path, context.token)
        except ToolError as error:
            return 1, str(error)
        return 0, ""

    monkeypatch.setattr(switch, "follow", follow)


def before_switch(procedure: Procedure) -> tuple[Step, ...]:
    return procedure.steps[: procedure.steps.index(switch.SWITCH)]


def begin_switch(context: Context) -> switcher.Switch:
    """What a worker that was killed in its switch leaves: a journal without an end. To be brought half-way by hand."""
    path = switch.journal_path(context, "there")
    path.parent.mkdir(exist_ok=True)
    written = {"goal": switch.forward_goal(context), "old_pid": 0, "began": 0.0}
    journal.write(path, written)
    half = switcher.Switch(written, path.with_suffix(".files"))
    half.get_ready()
    return half


def carry(context: Context, *steps: Step) -> None:
    """Apply and verify, as the runner does."""
    for step in steps:
        context.facts[step.name] = step.apply(context)
        step.verify(context)


def undo(context: Context, *steps: Step) -> None:
    for step in reversed(steps):
        step.undo(context)


def sealed_again(of: Manifest, tag: str) -> Point:
    """Somebody who could write there has changed a restore point, and its list of hashes along."""
    place = backup.place(of, tag)
    written = json.loads((place / "manifest.json").read_text())
    written["files"] = backup.members_of(place)
    (place / "manifest.json").write_text(json.dumps(written))
    return Point(tag, written["commit"], files.sha256(place / "manifest.json"))


def as_archive(of: Manifest, tag: str, change: Callable[[Path], object] = Path.touch) -> Point:
    """The same restore point, as format 1 had it, and as people make it by hand: artifacts.tar.gz."""
    place = backup.place(of, tag)
    store.unpack(place / "artifacts", place / "unpacked")
    words = ["tar", "-C", str(place / "unpacked"), "-czf", str(place / "artifacts.tar.gz"), *of.artifacts]
    subprocess.run(words, check=True)
    shutil.rmtree(place / "unpacked")
    shutil.rmtree(place / "artifacts")
    change(place / "artifacts.tar.gz")
    return sealed_again(of, tag)


def back_up(
    context: Callable[..., Context], of: Manifest, tag: str = "backup-20260301-110000", previous: str = ""
) -> Point:
    """A restore point, made as the backup procedure makes it."""
    mine = context(of, goal={"tag": tag, "message": "before 3", "previous": previous})
    carry(mine, *backup.PROCEDURE.steps)
    sealed = mine.facts["seal"]["restore_point"]
    return Point(sealed["tag"], sealed["commit"], sealed["manifest_sha256"])
