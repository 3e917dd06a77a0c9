"""The sample on a host, as a unit of its systemd: what a person who looks after it would type, in a word each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from portal.sample import layout
from portal.supervision import wait_until
from tests.hosts.host import OWNER, PYTHON, Host, HostError

UNIT = """\
[Unit]
Description=The sample {name}
[Service]
User={owner}
WorkingDirectory={root}
ExecStart={root}/.venv/bin/python -m orchestration.service --host 0.0.0.0 --port {port}
[Install]
WantedBy=multi-user.target
"""
SLOW = """\
ExecStop=/bin/sh -c 'touch {home}/stops; sleep 2'
ExecStartPre=/bin/sh -c 'touch {home}/starts; sleep 2'"""
MANIFEST = """\
[system]
name = "{name}"
environment = "production"
root = "{root}"
host = "{host}"
config = ["config/agents.config.json"]
secrets = [".env"]
artifacts = ["artifacts"]
logs = ["logs"]
backups = "{home}/backups"
push_tags = true

[service]
manager = "systemd"
unit = "{name}"

[commands]
validate_config = "invoke validate-config"
smoke = "python -c 'from orchestration.coordinator import AgentCoordinator'"

[health]
url = "http://127.0.0.1:{port}/health"
watch_minutes = 0.02
"""


class Managed:
    """A system of its own on the host: its name is its unit's and its directory's below /srv."""

    def __init__(self, host: Host, name: str, port: int) -> None:
        self.host, self.name, self.port = host, name, port
        self.home = Path("/srv") / name
        self.root = layout.root(self.home)
        self.manifest = MANIFEST.format(name=name, root=self.root, home=self.home, host=host.name, port=port)
        self.good: dict[str, Any] = {}
        self.drop_in = f"/etc/systemd/system/{name}.service.d/test.conf"
        self.url = f"http://{host.address}:{port}/health"

    def lay_out(self) -> None:
        """The good release runs; `good` is how it looks."""
        self.good = self.guest("lay_out")
        unit = UNIT.format(name=self.name, owner=OWNER, root=self.root, port=self.port)
        self.host.write(f"/etc/systemd/system/{self.name}.service", unit)
        self.host.shell(f"systemctl daemon-reload && systemctl enable --quiet --now {self.name}")
        self.await_release("1.2.0", 200)
        self.host.settle()

    def break_it(self) -> dict[str, Any]:
        """The bad release is deployed, and answers 500."""
        bad = self.guest("deploy_bad")
        self.host.run("systemctl", "restart", self.name)
        self.await_release("1.3.0", 500)
        self.host.settle()
        return bad

    def edit(self) -> dict[str, Any]:
        """People change this and that on the host."""
        edited = self.guest("edit")
        self.host.settle()
        return edited

    def change_unit(self, text: str) -> None:
        """A drop-in for its [Service]."""
        self.host.write(self.drop_in, f"[Service]\n{text}\n")
        self.host.run("systemctl", "daemon-reload")
        self.host.settle()

    def make_slow(self) -> None:
        """It takes two seconds to stop and two to start, and each leaves a sign when it begins."""
        self.forget_signs()
        self.change_unit(SLOW.format(home=self.home))

    def forget_signs(self) -> None:
        for sign in ("stops", "starts"):
            (self.inside("..") / sign).unlink(missing_ok=True)

    def await_sign(self, sign: str) -> None:
        """As fast as it can be seen from outside."""
        assert wait_until((self.inside("..") / sign).exists, 60, pause=0.002), f"{self.name}: it never {sign}"

    def forget_unit_changes(self) -> None:
        self.host.shell(f"rm -f {self.drop_in}; systemctl daemon-reload")

    def guest(self, verb: str) -> dict[str, Any]:
        """Raises HostError."""
        said = self.host.as_owner(str(PYTHON), "-m", "tests.hosts.guest", verb, str(self.home))
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def look(self) -> dict[str, Any]:
        return self.guest("look")

    # --- the service ---

    def health(self) -> tuple[int, str]:
        """(status, release); (0, "") when it does not answer."""
        try:
            with urlopen(self.url, timeout=2) as answer:
                return answer.status, json.load(answer)["release"]
        except HTTPError as error:
            return error.code, json.load(error).get("release", "")
        except OSError:
            return 0, ""

    def await_release(self, release: str, status: int, seconds: float = 30) -> None:
        if not wait_until(lambda: self.health() == (status, release), seconds, pause=0.05):
            raise HostError(
                f"{self.name} answers {self.health()} and not {status} of {release}\n{self.host.journal(self.name)}"
            )

    def show(self, name: str) -> str:
        """A property of its unit."""
        return self.host.run("systemctl", "show", "--value", "--property", name, self.name)

    # --- its host's disk, as this machine sees it ---

    def inside(self, path: str) -> Path:
        """A path below its root, also while the host is off or does not answer."""
        return self.host.tree / str(self.root).lstrip("/") / path
