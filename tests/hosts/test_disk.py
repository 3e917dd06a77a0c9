"""What is left of git's work after an immediate power cut."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.conftest import MakeHost
from tests.hosts.host import Host

MAKE = """
import json, subprocess
from pathlib import Path
root = Path("/srv/disk")
subprocess.run(["rm", "-rf", str(root)], check=True)
root.mkdir()
who = ["-c", "user.name=Dev", "-c", "user.email=dev@example.org"]
def git(*words):
    subprocess.run(["git", "-C", str(root), *who, *words], check=True)
git("init", "--quiet", "--initial-branch=main")
for release in ("good", "bad"):
    for number in range(50):
        (root / f"file-{number}").write_text(f"{release} {number}\\n" * 100)
    git("add", "--all")
    git("commit", "--quiet", "--message", release)
    git("tag", release)
subprocess.run(["sync"], check=True)
print(json.dumps({}))
"""
RESET = {
    "git alone": "git reset --quiet --hard good",
    "git with core.fsync=all": "git -c core.fsync=all reset --quiet --hard good",
    "git, then files.sync": "git reset --quiet --hard good && PYTHONPATH=/opt/portal /opt/portal/.venv/bin/python -c "
    "'from rollbacks.tools import files; from pathlib import Path; files.sync(Path(\"/srv/disk\"))'",
}
TAG = """
from pathlib import Path
from rollbacks.tools import files, git
root = Path("/srv/disk")
for number in range(20):
    git.tag(root, f"kept-{number}", git.head(root).commit, "What a safety point does")
files.write(Path("/srv/other"), b"What is synced beside it takes the names of new files along, and not their content")
print("{}")
"""
LOOK = """
import json, subprocess
from pathlib import Path
root = Path("/srv/disk")
def git(*words):
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
seen = [(root / f"file-{number}").read_text() for number in range(50)]
print(json.dumps({
    "commit": git("describe", "--tags", "HEAD").stdout.strip(),
    "good": sum(text == f"good {number}\\n" * 100 for number, text in enumerate(seen)),
    "bad": sum(text == f"bad {number}\\n" * 100 for number, text in enumerate(seen)),
    "empty": sum(not text for text in seen),
    "broken": git("fsck", "--no-progress", "--no-dangling").stderr,
}))
"""


@pytest.fixture(scope="module")
def disk(make_host: MakeHost) -> Host:
    return make_host("alpha", worker=False)


def reset_and_cut(host: Host, words: str) -> dict[str, Any]:
    """What is found when the host is on again."""
    host.start()
    host.python(MAKE)
    host.as_owner("sh", "-c", f"cd /srv/disk && {words}")
    host.kill()
    host.start()
    found: dict[str, Any] = host.python(LOOK)
    return found


def test_a_tag_is_whole_or_not_there_after_a_power_cut(disk: Host) -> None:
    disk.start()
    disk.python(MAKE)
    disk.python(TAG)
    disk.kill()
    disk.start()
    found = disk.python(LOOK)
    assert (found["broken"], found["bad"]) == ("", 50)
    disk.python(TAG)  # and can be made again


def test_a_reset_that_was_synced_outlives_a_power_cut_and_one_that_was_not_does_not(disk: Host) -> None:
    left = {name: reset_and_cut(disk, words) for name, words in RESET.items()}
    for name, found in left.items():
        print(f"{name}: {found}")
    assert left["git, then files.sync"] == {"commit": "good", "good": 50, "bad": 0, "empty": 0, "broken": ""}
    assert left["git alone"]["good"] < 50, "this power cut loses nothing: the tests of this folder prove nothing"
