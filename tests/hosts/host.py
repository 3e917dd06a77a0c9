"""A real host: Debian with systemd as PID 1, and on it the portal's worker, set up as docs/hosts.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("host.sh")
STATE = Path(os.environ.get("HOST_STATE", "/var/tmp/systemd-host"))
PACKAGES = "polkitd,sudo"  # polkitd for the worker's rights; sudo for the hosts that go without it
PORTAL = Path("/opt/portal")
PYTHON = PORTAL / ".venv/bin/python"
WHEELS = Path("/srv/wheels")
OWNER = "portal"  # the worker's user, who owns the systems and runs their services
OWNERS = (  # the owner's environment: no package index can be reached
    "HOME=/var/lib/portal",
    "PIP_NO_INDEX=1",
    f"PIP_FIND_LINKS={WHEELS}",
    "UV_OFFLINE=1",
    f"UV_FIND_LINKS={WHEELS}",
)

SETUP = f"""
set -e
useradd --system --create-home --home-dir /var/lib/portal --shell /usr/sbin/nologin {OWNER}
chown {OWNER}: /srv
chmod 0600 /etc/portal/worker.env
systemctl daemon-reload
"""


class HostError(AssertionError):
    """A command for or on a host failed; the text is what it said."""


class Host:
    """One host, by its name. It is not there until create(), and does not run until start()."""

    def __init__(self, name: str, layer: Path | None = None) -> None:
        self.name = name
        self.environment = os.environ | {"HOST_STATE": str(STATE), "HOST_PKGS": PACKAGES}
        if layer is not None:
            self.environment["HOST_LAYER"] = str(layer)

    def script(self, verb: str, *words: str, given: str | None = None, check: bool = True) -> str:
        """host.sh VERB NAME …; what it said. Raises HostError."""
        done = subprocess.run(
            [str(SCRIPT), verb, self.name, *words],
            env=self.environment,
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise HostError(
                f"{verb} {self.name} {' '.join(words)[:200]}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout.strip()

    # --- its life ---

    def create(self) -> None:
        """Anew: what a session that was killed left under the name goes first."""
        self.script("destroy")
        self.script("create")

    def start(self, *, worker: bool = True) -> None:
        """Without its worker it can be looked at as it came up, before anybody goes on."""
        wanted = self.tree / "etc/systemd/system/multi-user.target.wants/portal-worker.service"
        if not worker:
            wanted.unlink()
        self.script("start")

    def start_worker(self) -> None:
        self.run("systemctl", "enable", "--quiet", "--now", "portal-worker")

    def kill(self) -> None:
        """A power cut: what was not synced is lost."""
        self.script("kill")

    def destroy(self) -> None:
        self.script("destroy")

    @property
    def address(self) -> str:
        return self.script("ip")

    @property
    def tree(self) -> Path:
        """Its root directory, as this machine sees it, also while it is off."""
        return Path(self.script("root"))

    # --- what is done on it ---

    def run(self, *words: str, given: str | None = None, check: bool = True) -> str:
        """A command on it, as root; what it said. Raises HostError."""
        return self.script("exec", *words, given=given, check=check)

    def shell(self, text: str) -> str:
        """A shell script on it, as root."""
        return self.run("bash", "-s", given=text)

    def as_owner(self, *words: str, given: str | None = None, check: bool = True) -> str:
        """A command as the worker's user, where the portal's code is."""
        return self.run(
            "runuser", "-u", OWNER, "--", "env", "-C", str(PORTAL), *OWNERS, *words, given=given, check=check
        )

    def python(self, text: str, *words: str) -> Any:
        """A program as the worker's user; what it printed last, which is JSON."""
        return json.loads(self.as_owner(str(PYTHON), "-", *words, given=text).splitlines()[-1])

    def write(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        place = self.tree / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def settle(self) -> None:
        """What was laid out so far outlives a power cut, as it would if it had been there for a while."""
        self.run("sync", "--file-system", "/")

    def journal(self, unit: str) -> str:
        """The last words of a unit."""
        return self.run("journalctl", "--no-pager", "--lines=60", "--unit", unit, check=False)

    # --- the portal on it ---

    def install_portal(self, environment: Mapping[str, str]) -> None:
        """The portal's code as it is in this checkout, the worker's unit as docs/hosts.md has it, and its settings."""
        copy_code(self.tree / str(PORTAL).lstrip("/"))
        settings = {
            "PORTAL_HOST": self.name,
            "PORTAL_HOME": "/var/lib/portal",
            **environment,
        }
        lines = [*(f"{name}={value}" for name, value in settings.items()), *OWNERS, ""]
        self.write("/etc/portal/worker.env", "\n".join(lines), 0o600)
        self.write("/etc/systemd/system/portal-worker.service", documented("portal-worker.service"))
        self.shell(SETUP)
        self.settle()


def documented(name: str) -> str:
    """A file as docs/hosts.md has it: the block whose first line names it."""
    found = re.search(
        rf"```\w*\n(# \S*/{re.escape(name)}\n.*?)```", (PROJECT / "docs" / "hosts.md").read_text(), re.DOTALL
    )
    assert found, f"docs/hosts.md has no {name}"
    return found[1]


def copy_code(place: Path) -> None:
    """What git would commit of this checkout."""
    listed = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = [name for name in subprocess.check_output(listed, text=True).split("\0") if name]
    for name in names:
        source, target = PROJECT / name, place / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
