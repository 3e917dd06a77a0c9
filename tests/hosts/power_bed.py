"""The bed of the chaos matrix, laid out on a real host: its worker there carries the runs, and the blow is a power cut.

The host's disk is looked at from this machine, by the same code and the same hashes as beside a killed worker."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from django.contrib.auth.models import User

from portal.supervision import wait_until
from rollbacks.models import RestorePoint, Run, System
from rollbacks.runner import WANTED
from tests.chaos.bed import WORDS, Bed
from tests.chaos.worker import NEVER, Cut
from tests.conftest import manifest_text
from tests.hosts.host import OWNER, Host, documented
from tests.hosts.managed import Managed
from tests.hosts.portal import Portal
from tests.processes.driver import make_way
from tests.rollbacks.test_procedures import package

WISH, SIGN = Path("/srv/cut.json"), Path("/srv/at-the-boundary")  # as paused.py has them
PAUSED = "tests.hosts.paused"
PATIENCE = 120.0  # seconds for a run, its power cut and its successors
UNIT = """\
[Unit]
Description=The chaos bed
[Service]
User={owner}
WorkingDirectory={root}
ExecStart={root}/.venv/bin/python -I -S app.py {port}
[Install]
WantedBy=multi-user.target
"""
RESET = """\
set -e
systemctl stop {name}
rm -rf {root}
cp -a {home}/kept {root}
runuser -u {owner} -- git -C {root} update-index -q --refresh
systemctl start {name}
sync -f /srv
"""
KEEP_ENVIRONMENT = """\
import json, shutil, sys
from rollbacks.procedures import stage
from rollbacks.tools import environment, manifest
known = manifest.parse(open(sys.argv[1]).read())
kept = stage.kept_environment(known, stage.lock_for(known, "tool==1.0\\n"))
kept.parent.mkdir(parents=True, exist_ok=True)
shutil.copytree(known.live_environment, kept, symlinks=True)
environment.mark(kept)
print(json.dumps(str(kept)))
"""
# From outside git looks at another user's checkout, and must not leave an index there that is root's.
LOOK_ONLY = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


class PowerBed(Bed):
    """With LOOK_ONLY in the environment."""

    def __init__(self, portal: Portal, host: Host, checkout: Path) -> None:
        self.portal, self.host = portal, host
        self.oncall, self.tech_lead = (User.objects.get(username=name) for name in ("oncall", "techlead"))
        self.managed = Managed(host, "chaos", 8200)
        self.wish, self.sign = (host.tree / str(each).lstrip("/") for each in (WISH, SIGN))
        shutil.copytree(checkout, self.managed.inside(""), symlinks=True)
        self.give_over()
        self.let_worker_stand_still()
        unit = f'manager = "systemd"\nunit = "{self.managed.name}"'
        health = f"http://127.0.0.1:{self.managed.port}/health"
        text = manifest_text(self.managed.root, WORDS).replace(
            'name = "agents"', f'name = "{self.managed.name}"\nhost = "{host.name}"'
        )
        text += f'\n[service]\n{unit}\n\n[health]\nurl = "{health}"\n'
        self.health = health
        self.prepare(self.managed.inside(""), self.managed.root, text)

    def let_worker_stand_still(self) -> None:
        unit = documented("portal-worker.service").replace("-A portal worker", f"-A portal worker --include {PAUSED}")
        self.host.write("/etc/systemd/system/portal-worker.service", unit)
        self.host.shell("systemctl daemon-reload && systemctl restart portal-worker")
        self.host.settle()

    # --- laying it out ---

    def add(self, text: str) -> System:
        unit = UNIT.format(owner=OWNER, root=self.known_as, port=self.managed.port)
        self.host.write(f"/etc/systemd/system/{self.managed.name}.service", unit)
        self.host.shell(f"systemctl daemon-reload && systemctl enable --quiet {self.managed.name}")
        self.managed.manifest = text
        self.host.write(self.managed.home / "system.toml", text)
        return self.portal.add(self.managed)

    def give_over(self) -> None:
        """What was written from outside is root's."""
        self.host.run("chown", "-R", f"{OWNER}:", str(self.managed.home))

    def make_environment(self) -> None:
        self.give_over()
        self.host.as_owner("python3", "-m", "venv", "--without-pip", str(self.known_as / ".venv"))
        package(self.root / ".venv", "1.0")
        self.give_over()

    def keep_environment(self, point: RestorePoint) -> None:
        self.host.python(KEEP_ENVIRONMENT, str(self.managed.home / "system.toml"))

    def keep(self) -> None:
        super().keep()
        self.give_over()

    # --- a run ---

    def reset(self) -> None:
        make_way(self.system.name)
        self.smokes.unlink(missing_ok=True)
        names = {"name": self.managed.name, "owner": OWNER, "root": self.known_as, "home": self.managed.home}
        self.host.shell(RESET.format(**names))
        self.said()

    def work(self, run: Run) -> None:
        assert wait_until(lambda: not self.is_wanted(run), PATIENCE, pause=0.01), self.host.journal("portal-worker")

    def is_wanted(self, run: Run) -> bool:
        return Run.objects.filter(WANTED, pk=run.pk).exists()

    def begin(self, procedure: str, way: str, cut: Cut) -> Run:
        """The worker there begins as soon as it is approved."""
        if way == "back":
            self.smokes.touch()
            self.host.settle()
        if cut.step:
            self.wish.write_text(json.dumps([cut.kind, cut.step]))
        return self.approved(procedure)

    def end(self, run: Run, cut: Cut) -> float:
        if cut == NEVER:
            self.work(run)
            return 0.0
        if cut.at:
            time.sleep(cut.at)  # the instant is the case; nothing is waited for
        else:
            assert wait_until(self.sign.exists, PATIENCE, pause=0.002), "it never came to the boundary"
        self.host.kill()
        late, blow = not self.is_wanted(run), time.monotonic()
        for each in (self.wish, self.sign):
            each.unlink(missing_ok=True)
        self.host.start()
        self.work(run)
        return 0.0 if late else time.monotonic() - blow

    # --- from outside ---

    def said(self) -> str:
        """It comes up with its host, or with its reset."""
        words = ("curl", "--silent", "--fail", "--retry-connrefused", "--retry", "100", "--retry-delay", "0")
        return self.host.run(*words, "--retry-max-time", "10", self.health)

    def serves(self, pid: int) -> bool:
        return f"/{self.managed.name}.service" in Path(f"/proc/{pid}/cgroup").read_text()
