"""A code rollback in a repository of 50,000 files, against git's own work on it, taken in the same run.

While working on it: PORTAL_BENCH_FILES=2000.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollbacks.procedures import code
from rollbacks.procedures.base import Context, Request
from rollbacks.tools import files, manifest, probe
from tests.benchmarks import report
from tests.conftest import git

FILES = int(os.environ.get("PORTAL_BENCH_FILES", "50000"))
CHANGED = 10  # every tenth differs between the two releases
PLANNED = 10.0  # seconds: a person waits for it
STAGED = 3.0  # times git's own work: what is laid out is on disk, and is looked at
IN_PLACE = 2.0  # times a bare checkout: the outage
SLACK = 0.2  # seconds of processes that begin


def stream() -> Iterator[str]:
    """Two releases, as `git fast-import` reads them."""
    who = "Dev <dev@example.org> 1700000000 +0000"
    yield f"commit refs/heads/main\nmark :1\ncommitter {who}\ndata 2\nv1\n"
    yield from (changed(number, f"value = {number}\n") for number in range(FILES))
    yield f"tag v1\nfrom :1\ntagger {who}\ndata 2\nv1\n"
    yield f"commit refs/heads/main\ncommitter {who}\ndata 2\nv2\nfrom :1\n"
    yield from (changed(number, f"value = {number} + 1\n") for number in range(0, FILES, CHANGED))


def changed(number: int, content: str) -> str:
    return f"M 100644 inline src/{number % 250:03d}/{number}.py\ndata {len(content)}\n{content}\n"


@pytest.fixture
def large() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    root = home / "large"
    git(home, "init", "-q", "-b", "main", str(root))
    read = ["git", "-C", str(root), "fast-import", "--quiet"]
    subprocess.run(read, input="".join(stream()), text=True, check=True)
    git(root, "checkout", "-q", "--force", "main")
    yield root
    shutil.rmtree(home)


def timed(deed: Callable[[], Any]) -> float:
    os.sync()  # nobody pays for what another one has left to be written
    began = time.monotonic()
    deed()
    return time.monotonic() - began


def test_a_code_rollback_of_many_files(large: Path) -> None:
    aside = large.parent / "aside"

    def bare_stage() -> None:
        git(large, "worktree", "add", "--quiet", "--detach", str(aside), "v1")
        files.sync(aside)

    def bare_switch() -> None:
        git(large, "checkout", "--quiet", "--force", "--detach", "v1")
        files.sync(large)

    by_git = {"staged": timed(bare_stage), "in place": timed(bare_switch)}
    git(large, "worktree", "remove", "--force", str(aside))
    git(large, "checkout", "--quiet", "--force", "main")

    of = manifest.parse(f'[system]\nname = "large"\nroot = "{large}"\nbackups = "{large.parent}/backups"\n')
    plans = []
    planned = timed(lambda: plans.append(code.plan(of, Request("v1"))))
    said: list[str] = []
    context = Context(
        manifest=of,
        run=1,
        token=1,
        holder=probe.identity(),
        essence=plans[0].essence,
        safety_tag="failed-20260301-120000",
        say=said.append,
        stopped=lambda: False,
    )

    def carry_out(name: str) -> None:
        step = code.PROCEDURE.step(name)
        context.facts[name] = step.apply(context)
        step.verify(context)

    seconds = {step.name: timed(lambda name=step.name: carry_out(name)) for step in code.STEPS}  # type: ignore[misc]
    in_place = float("".join(said).partition("in place in ")[2].split()[0])
    rows: list[list[object]] = [
        ["planned", f"{planned:.2f}", ""],
        ["safety point", f"{seconds['safety']:.2f}", ""],
        ["staged", f"{seconds['tree']:.2f}", f"{by_git['staged']:.2f}"],
        ["in place (the outage)", f"{in_place:.2f}", f"{by_git['in place']:.2f}"],
    ]
    text = f"""
A code rollback in a repository of {FILES} files, of which one in {CHANGED} differs between the two releases; git's own
`worktree add` and `checkout`, both synced, beside it.

{report.table(["", "the portal, s", "git, s"], rows)}
"""
    report.tell("The large repository", text, where=report.machine())
    assert git(large, "rev-parse", "HEAD") == git(large, "rev-parse", "v1^{commit}")
    assert len(plans[0].shown["files"]) == FILES / CHANGED
    assert planned < PLANNED
    assert seconds["tree"] < STAGED * by_git["staged"] + SLACK
    assert in_place < IN_PLACE * by_git["in place"] + SLACK
