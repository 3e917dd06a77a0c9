"""A service that runs for real, under a real supervisord, and pictures of a host to compare before and after."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portal.supervision import Program, Supervisor, program_section, wait_until
from rollbacks.tools import probe, service
from rollbacks.tools.manifest import Service
from tests.conftest import commit, git, manifest_text

APP = """import socket
import sys

with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        asked, _ = server.accept()
        with asked:
            asked.recv(4096)
            asked.sendall(b"HTTP/1.1 {status} It is so\\r\\nConnection: close\\r\\n\\r\\nrelease {release}")
"""
CRASHING = "import sys\n\nsys.exit('no such module')\n"
SILENT = "import time\n\ntime.sleep(600)\n"
STUBBORN = "import signal\n\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # before what it does


def app(release: int, status: int = 200) -> str:
    """The program of a release: it answers every question with the same status."""
    return APP.format(release=release, status=status)


def release(root: Path, program: str, tag: str = "") -> str:
    """Commit a release of the service; it is checked out then."""
    made = commit(root, "A release", app_py=program)
    if tag:
        git(root, "tag", "--force", tag)
    return made


class Served:
    """The service of a checkout: app.py, kept alive by a supervisord of its own."""

    def __init__(self, root: Path, patience: int) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.daemon = Supervisor(root.parent / "supervisord.conf")
        words = [sys.executable, "-I", "-S", "app.py", str(self.port)]
        options: dict[str, str | int] = {"autostart": "false", "startsecs": 1, "startretries": 50}
        options["stopwaitsecs"] = patience
        log = root.parent / "app.out"
        self.daemon.configure([program_section(Program("app", words, options), root, log)])

    @property
    def manager(self) -> service.Manager:
        return service.for_service(Service("supervisor", "app", f"unix://{self.daemon.socket}"))

    @property
    def health_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/health"

    @property
    def pid(self) -> int:
        return self.manager.status().pid

    def is_healthy(self) -> bool:
        return probe.health(self.health_url, 0.5).ok

    def answers(self) -> bool:
        return probe.health(self.health_url, 0.5).answered

    def start(self) -> int:
        """Started, and answering; its pid."""
        self.manager.start()
        assert wait_until(self.answers, 10)
        return self.pid

    def manifest(self, test: str = "true") -> str:
        words = f'\n[service]\nmanager = "supervisor"\nunit = "app"\nurl = "unix://{self.daemon.socket}"\n'
        return manifest_text(self.root, test) + words + f'\n[health]\nurl = "{self.health_url}"\n'


@contextmanager
def serving(root: Path, patience: int = 5) -> Iterator[Served]:
    """A supervisord for this checkout; its program is not started yet. `patience`: seconds from TERM to KILL."""
    served = Served(root, patience)
    args = [str(Path(sys.executable).with_name("supervisord")), "-n", "-c", str(served.daemon.config)]
    with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        try:
            assert wait_until(served.daemon.answers, 10)
            yield served
        finally:
            with suppress(service.ServiceError):
                served.manager.stop(10)
            daemon.kill()  # its own end takes a second


# --- pictures -------------------------------------------------------------------------------------------------------

HIDDEN = {".git", ".rollback", "logs"}


def picture(root: Path) -> dict[str, object]:
    """Everything that an undo has to put back: HEAD, branch, index, and each file's kind, mode and content."""
    return {
        "commit": git(root, "rev-parse", "HEAD"),
        "branch": git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        "index": git(root, "ls-files", "--stage"),
        "status": git(root, "status", "--porcelain"),
        "worktrees": git(root, "worktree", "list", "--porcelain"),
        "files": {str(path.relative_to(root)): described(path) for path in sorted(paths(root))},
    }


def paths(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in HIDDEN]
        yield from (Path(folder) / name for name in names)
        yield from (Path(folder) / name for name in folders if (Path(folder) / name).is_symlink())


def described(path: Path) -> tuple[str, str, str]:
    if path.is_symlink():
        return "link", "", os.readlink(path)
    return "file", oct(path.stat().st_mode & 0o7777), path.read_bytes().hex()
