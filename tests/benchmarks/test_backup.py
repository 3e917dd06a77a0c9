"""A restore point's artifacts against the guide's `tar -czf`, on a gigabyte in 10,000 files.

While working on it: PORTAL_BENCH_MEGABYTES=50.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollbacks.tools import store
from tests.benchmarks import report

MEGABYTES = int(os.environ.get("PORTAL_BENCH_MEGABYTES", "1000"))
FILES = 10 * MEGABYTES
ROUNDS = 3
FIRST, SECOND = 5, 20  # times as fast as the guide
SPACE = 0.05  # of the guide's archive
MEMORY = 200  # MB
PROJECT = Path(__file__).resolve().parents[2]

BACKUP = """
import json, sys, time
from pathlib import Path
import django
django.setup()
from rollbacks import runner  # all that a worker has in its memory
from rollbacks.procedures import artifacts
from rollbacks.tools import manifest
text = '[system]\\nname = "agents"\\nroot = "{0}"\\nbackups = "{0}.backups"\\nartifacts = ["artifacts"]\\n'
of, point = manifest.parse(text.format(sys.argv[1])), Path(sys.argv[2])
previous = Path(sys.argv[3]) if len(sys.argv) > 3 else None
point.mkdir()
began = time.monotonic()
kept = artifacts.keep(of, point, previous, lambda words: None)
read_back = time.monotonic()
assert artifacts.check(point, [artifacts.LISTING], deep=True, trusted=previous) == []
ended = time.monotonic()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
memory = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps({"keep": read_back - began, "all": ended - began, "memory": memory, "read": kept["read"]}))
"""


class Artifacts:
    """What agents leave behind: their runs as JSON lines, reports, and embeddings that hardly compress."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 — no secret, but the same artifacts each time
        words = ["".join(self.random.choices("etaoinshrdlucmfw", k=self.random.randint(2, 9))) for _ in range(5000)]
        common = [1 / (rank + 1) for rank in range(len(words))]
        self.sentences = [" ".join(self.random.choices(words, common, k=14)) for _ in range(30_000)]
        # The upper byte of a float32 that is somewhere around 1: sign, and the larger part of the exponent.
        self.upper = bytes(self.random.choices((0x3F, 0xBF, 0x3E, 0xBE, 0x3D, 0xBD), (5, 5, 2, 2, 1, 1), k=256))
        self.kinds = {"runs": (0.45, "jsonl", self.runs), "reports": (0.25, "md", self.report)}
        self.kinds["embeddings"] = (0.3, "npy", self.embeddings)

    def make(self, root: Path) -> None:
        shares = [share for share, _, _ in self.kinds.values()]
        kinds = self.random.choices(list(self.kinds), shares, k=FILES)
        sizes = [self.random.lognormvariate(0, 1.2) for _ in range(FILES)]
        scale = MEGABYTES * 1e6 / sum(sizes)
        for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
            path = root / "artifacts" / kind / f"{number % 97:02d}" / f"{number:05d}.{self.kinds[kind][1]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.kinds[kind][2](int(size * scale)))

    def change(self, root: Path) -> None:
        """One file in a hundred gets another content."""
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        for path in self.random.sample(paths, FILES // 100):
            path.write_bytes(self.kinds[path.parts[-3]][2](path.stat().st_size))

    def runs(self, size: int) -> bytes:
        return "".join(self.run() for _ in range(size // 200 + 1)).encode()[:size]

    def run(self) -> str:
        bits = self.random.getrandbits(128)
        agent, event = ("planner", "reviewer", "coder")[bits % 3], ("start", "tool", "answer", "end")[bits % 4]
        return (
            f'{{"at":{1_730_000_000 + bits % 9_999_991}.{bits % 1000:03d},"run":"{bits >> 80:012x}","agent":"{agent}",'
            f'"event":"{event}","tokens":{bits % 4096},"score":{bits % 999_983 / 999_983:.6f},'
            f'"text":"{self.sentences[(bits >> 20) % len(self.sentences)]}"}}\n'
        )

    def report(self, size: int) -> bytes:
        return ".\n".join(self.random.choices(self.sentences, k=size // 50 + 1)).encode()[:size]

    def embeddings(self, size: int) -> bytes:
        made = bytearray(self.random.randbytes(size))
        made[3::4] = made[3::4].translate(self.upper)
        return bytes(made)


@pytest.fixture
def home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    yield home
    shutil.rmtree(home)


def guide(home: Path) -> float:
    """The guide's own line, into a file."""
    os.sync()  # nobody pays for what another one has left to be written
    began = time.monotonic()
    subprocess.run(["tar", "-czf", "artifacts-backup.tar.gz", "artifacts/"], cwd=home, check=True)
    return time.monotonic() - began


def backup(home: Path, into: str, *previous: str) -> dict[str, Any]:
    """Keep and read back, in a process of its own."""
    os.sync()
    words = [sys.executable, "-c", BACKUP, str(home), *(str(home / name) for name in (into, *previous))]
    done = subprocess.run(words, cwd=PROJECT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def on_disk(*trees: Path) -> list[int]:
    """Bytes that each takes on the disk besides those before it."""
    said = subprocess.run(
        ["du", "--summarize", "--block-size=1", *map(str, trees)], capture_output=True, text=True, check=True
    )
    return [int(line.split()[0]) for line in said.stdout.splitlines()]


def settle(home: Path) -> None:
    """What was written a moment ago is read again next time, and this is about what has not changed for long."""
    newest = max(path.stat().st_ctime for path in home.rglob("*"))
    while time.time() < newest + store.RECENT:
        time.sleep(0.1)


def test_a_restore_point_costs_only_what_has_changed(home: Path) -> None:
    artifacts = Artifacts(seed=7)
    artifacts.make(home)
    settle(home)
    packed, first, second = [], [], []
    for number in range(ROUNDS):  # each beside the others: ext4 is slow where much was deleted a moment ago
        packed.append(guide(home))
        first.append(backup(home, f"first-{number}"))
    archive = (home / "artifacts-backup.tar.gz").stat().st_size
    artifacts.change(home / "artifacts")
    for number in range(ROUNDS):
        second.append(backup(home, f"second-{number}", "first-0"))

    size_of_first, size_of_second = on_disk(home / "first-0", home / "second-0")
    told(packed, archive, first, second, size_of_first, size_of_second)
    assert {each["read"] for each in first} == {FILES}
    assert {each["read"] for each in second} == {FILES // 100}
    assert middle(first, "all") * FIRST <= report.middle(packed)
    assert middle(second, "all") * SECOND <= report.middle(packed)
    assert size_of_second <= SPACE * archive
    assert max(each["memory"] for each in (*first, *second)) < MEMORY


def middle(rounds: list[dict[str, Any]], key: str) -> float:
    return report.middle([each[key] for each in rounds])


def told(
    packed: list[float],
    archive: int,
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    size_of_first: int,
    size_of_second: int,
) -> None:
    by_guide = report.middle(packed)
    rows: list[list[object]] = [
        ["the guide's tar -czf", f"{by_guide:.2f}", f"{by_guide:.2f}", 1, f"{archive / 1e6:.1f}", ""]
    ]
    for name, rounds, size in (
        ("first restore point", first, size_of_first),
        ("second, 1 % changed", second, size_of_second),
    ):
        seconds, memory = middle(rounds, "all"), max(each["memory"] for each in rounds)
        times = [f"{middle(rounds, 'keep'):.2f}", f"{seconds:.2f}", f"{by_guide / seconds:.1f}"]
        rows.append([name, *times, f"{size / 1e6:.1f}", f"{memory:.0f}"])
    head = ["artifacts", "kept, s", "and read back, s", "times as fast", "on disk, MB", "memory, MB"]
    text = f"""
{MEGABYTES} MB of artifacts in {FILES} files: JSON lines, reports, and embeddings that hardly compress. Medians of
{ROUNDS} rounds. The portal's are on disk (synced) when they are done, and then every object that is new is read back
and its hash compared; the guide's archive is neither synced nor read. The memory is that of a whole worker process, at
its highest.

{report.table(head, rows)}
"""
    report.tell("The backup", text, where=report.machine())
