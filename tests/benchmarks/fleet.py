"""Many systems on one machine: copies of one small checkout, each with a service of its own that answers 500 since its
second release, all kept alive by one supervisord."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from portal.sample import layout
from portal.supervision import Program, Supervisor, program_section, wait_until
from rollbacks.tools import probe
from tests.rollbacks.procedures.serving import app

MANIFEST = """
[system]
name = "{name}"
root = "{root}"
backups = "{backups}"
components = {{ agents = ["app.py"] }}

[service]
manager = "supervisor"
unit = "{name}"
url = "unix://{socket}"

[commands]
test = "true"

[health]
url = "{health}"
"""


@dataclass(frozen=True)
class Member:
    name: str
    root: Path
    health: str
    manifest: str

    def is_healthy(self) -> bool:
        return probe.health(self.health, 5).ok


@contextmanager
def fleet(home: Path, count: int) -> Iterator[list[Member]]:
    """All of them served, by the bad release."""
    first = home / "first"
    lay_out(first)
    daemon = Supervisor(home / "supervisord.conf")
    members, programs = [], []
    for number, port in enumerate(free_ports(count), 1):
        name = f"host-{number:02}"
        root = shutil.copytree(first, home / name / "agents", symlinks=True)
        health = f"http://127.0.0.1:{port}/health"
        words = {"root": root, "backups": home / name / "backups", "socket": daemon.socket, "health": health}
        members.append(Member(name, root, health, MANIFEST.format(name=name, **words)))
        program = Program(name, [sys.executable, "-I", "-S", "app.py", str(port)], {"startsecs": 1, "stopwaitsecs": 5})
        programs.append(program_section(program, root, home / name / "app.out"))
    daemon.configure(programs)
    words_of = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(daemon.config)]
    with subprocess.Popen(words_of, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: all(probe.health(each.health, 1).answered for each in members), 60)
            assert wait_until(lambda: {each.state for each in daemon.processes()} == {"RUNNING"}, 60)
            yield members
        finally:
            process.terminate()


def lay_out(root: Path) -> None:
    """Release 1, tagged, and release 2, which answers 500."""
    root.mkdir(parents=True)
    layout.git(root, "init", "--quiet", "--initial-branch=main")
    layout.git(root, "config", "user.name", "Deployment")
    layout.git(root, "config", "user.email", "deploy@agents.example")
    for number, status in ((1, 200), (2, 500)):
        (root / "app.py").write_text(app(number, status))
        layout.git(root, "add", "--all")
        layout.git(root, "commit", "--quiet", "--message", f"Release {number}")
        layout.git(root, "tag", f"v{number}")


def free_ports(count: int) -> list[int]:
    """All different: each stays taken until the last one is found."""
    with ExitStack() as taken:
        return [taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]
