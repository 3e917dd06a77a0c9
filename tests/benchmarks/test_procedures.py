"""How long nobody is served, for each procedure: the guide's own commands, a bare stop-switch-start, and the portal,
each from the same spoiled state of the same sample."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.sample import control, layout
from portal.sample.layout import PROGRAM, supervisor
from portal.supervision import wait_until
from tests.benchmarks import report
from tests.benchmarks.asking import Asking
from tests.benchmarks.place import GOOD, RELEASE, Place

ROUNDS = int(os.environ.get("ROUNDS", "5"))
GUIDE_ROUNDS = 1  # it takes seconds, and nothing is held against it
CONFIG = "config/agents.config.json"
OWN = ".rollback"  # the portal's folder in the checkout, with the environments that it keeps


@dataclass(frozen=True)
class Scenario:
    """`guide`: its commands, in order, with supervisorctl for systemctl. `switch`: what a bare restart has to put in
    place, all of it ready beside the checkout. `times`: the portal's outage is at most so many times the bare one's."""

    name: str
    guide: str
    switch: str
    times: float = 1.1
    wishes: dict[str, Any] = field(default_factory=dict)


ENVIRONMENT = "mv .venv {aside}/environment && ln -s {environment} .venv"
ARTIFACTS = "mv artifacts {aside}/artifacts && mv {ready}/artifacts artifacts"
SCENARIOS = [
    Scenario(
        "code",
        """
        {ctl} stop {unit}
        git checkout --quiet {good}
        . .venv/bin/activate
        pip install --disable-pip-version-check -r requirements.txt
        cp {ready}/agents.config.json {config}
        invoke test
        {ctl} start {unit}
        """,
        f"git checkout --quiet {{good}} && {ENVIRONMENT}",
    ),
    Scenario(
        "config",
        """
        . .venv/bin/activate
        {ctl} stop {unit}
        cp {ready}/agents.config.json {config}
        python -c "import json; json.load(open('{config}'))"
        invoke validate-config
        {ctl} start {unit}
        """,
        "cp {ready}/agents.config.json {config}",
    ),
    Scenario(
        "dependencies",
        """
        cp {ready}/requirements.backup.txt requirements.txt
        rm -rf .venv
        {python} -m venv .venv
        . .venv/bin/activate
        pip install --disable-pip-version-check -r requirements.txt
        pip list --disable-pip-version-check
        invoke test
        {ctl} restart {unit}
        """,
        ENVIRONMENT,
    ),
    Scenario(
        "partial",
        """
        . .venv/bin/activate
        git checkout --quiet {good} -- agents/planner.py
        python -m pytest tests/test_planner.py -v
        git add agents/planner.py
        git commit --quiet -m "Restore planner agent from backup"
        """,
        "git checkout --quiet {good} -- agents/planner.py",
        wishes={"component": "planner"},
    ),
    Scenario(
        "state",
        """
        {ctl} stop {unit}
        tar -xzf {ready}/artifacts-backup.tar.gz
        rm -rf logs/*.log
        mkdir -p logs
        {ctl} start {unit}
        """,
        f"{ARTIFACTS} && mv logs/*.log {{aside}}/",
        times=1.25,
        wishes={"set_logs_aside": True},
    ),
    Scenario(
        "full",
        """
        {ctl} stop {unit}
        cd .. && rm -rf agents
        git clone --quiet agents.git agents
        cd agents
        git checkout --quiet {good}
        {python} -m venv .venv
        . .venv/bin/activate
        pip install --disable-pip-version-check --upgrade pip
        pip install --disable-pip-version-check -r requirements.txt
        cp {ready}/agents.config.json config/
        cp {ready}/.env .
        cp -r {ready}/artifacts .
        mkdir -p logs artifacts
        invoke validate-config
        invoke test
        {ctl} start {unit}
        """,
        f"git checkout --quiet {{good}} && {ENVIRONMENT} && cp {{ready}}/.env . && {ARTIFACTS}",
        times=1.25,
    ),
]


class Spoiled:
    """The sample, served, with all of it spoiled since its restore point; `reset()` brings it back to that."""

    def __init__(self, place: Place) -> None:
        self.place, self.root = place, place.root
        self.manager = supervisor(place.sample)
        self.kept, self.ready, self.aside = (place.home / name for name in ("kept", "ready", "aside"))
        control.start_supervisor(place.sample)
        place.introduce("true")  # the portal tries it beside the live tree: no part of an outage
        self.keep_backups()
        self.tag: str = place.driver.ask("backup", system=layout.NAME)
        self.spoil()
        shutil.copytree(self.root, self.kept / "agents", symlinks=True)
        portal(self, SCENARIOS[0])  # the environment is built here, and kept from now on
        shutil.copytree(self.root / OWN, self.kept / "agents" / OWN, symlinks=True, dirs_exist_ok=True)

    def keep_backups(self) -> None:
        """By hand, as the guide has it before a deployment."""
        backups = self.kept / "ready"
        backups.mkdir(parents=True)
        for name in (CONFIG, ".env"):
            shutil.copy2(self.root / name, backups)
        frozen = layout.run([str(self.root / ".venv/bin/python"), "-m", "pip", "freeze"], self.root)
        (backups / "requirements.backup.txt").write_text(frozen + "\n")
        shutil.copytree(self.root / "artifacts", backups / "artifacts")
        layout.run(["tar", "-czf", str(backups / "artifacts-backup.tar.gz"), "artifacts"], self.root)

    def spoil(self) -> None:
        """A release that answers well and is worse: code, configuration, packages; and artifacts, a secret, a log."""
        planner, config, packages = (self.root / name for name in ("agents/planner.py", CONFIG, "requirements.txt"))
        planner.write_text(planner.read_text() + "\n# worse\n")
        config.write_text(json.dumps(json.loads(config.read_text()) | {"remark": "worse"}, indent=2))
        packages.write_text(packages.read_text().replace("humanize==4.10.0", "humanize==4.12.3"))
        layout.git(self.root, "commit", "--quiet", "--all", "--message", "Worse")
        layout.update_environment(self.root)
        with (self.root / "artifacts/history.jsonl").open("a") as history:
            history.write("spoiled\n")
        (self.root / ".env").write_text("ORCHESTRATION_API_KEY=rotated-since\n")
        (self.root / "logs/suspect.log").write_text("ERROR\n")

    def reset(self) -> None:
        """Spoiled again, and served. What was there is moved away: to remove it would make the disk busy."""
        self.manager.call("stopProcess", PROGRAM)
        away = Path(tempfile.mkdtemp(dir=self.place.home))
        for folder, kept in ((self.root, "agents"), (self.ready, "ready")):
            if folder.exists():
                folder.rename(away / folder.name)
            shutil.copytree(self.kept / kept, folder, symlinks=True, copy_function=copy)
        self.aside = away / "aside"
        self.aside.mkdir()
        layout.git(self.root, "update-index", "-q", "--refresh")
        self.manager.call("startProcess", PROGRAM, False)
        assert wait_until(lambda: self.manager.call("getProcessInfo", PROGRAM)["statename"] == "RUNNING", 60)

    def environment(self) -> Path:
        """The good one, which the portal has built and keeps."""
        return next(each for each in (self.root / OWN / "environments").iterdir() if each.is_dir())

    def shell(self, words: str) -> None:
        """Run it as a person would, in the checkout."""
        text = words.format(
            ctl=f"{sys.executable} -m supervisor.supervisorctl -c {self.manager.config}",
            unit=PROGRAM, python=sys.executable, good=GOOD, config=CONFIG,
            ready=self.ready, aside=self.aside, environment=self.environment(),
        )  # fmt: skip
        env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["/bin/sh", "-ec", text], cwd=self.root, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def copy(source: str, target: str) -> None:
    """The files of an environment are linked: nobody writes into them, and there are thousands."""
    if "site-packages" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


# --- the ways back --------------------------------------------------------------------------------------------------


def guide(spoiled: Spoiled, scenario: Scenario) -> None:
    spoiled.shell(scenario.guide)


def bare(spoiled: Spoiled, scenario: Scenario) -> None:
    spoiled.shell(f"{{ctl}} stop {{unit}}\n{scenario.switch}\n{{ctl}} start {{unit}}")


def calls(spoiled: Spoiled, scenario: Scenario) -> None:
    """The same without an interpreter to boot: what a restart costs, whoever does it."""
    spoiled.manager.call("stopProcess", PROGRAM)
    spoiled.shell(scenario.switch)
    spoiled.manager.call("startProcess", PROGRAM, False)


def portal(spoiled: Spoiled, scenario: Scenario) -> str:
    """What its switch said."""
    ask = spoiled.place.driver.ask
    words = {"procedure": scenario.name, "target": spoiled.tag, "wishes": scenario.wishes}
    pk = ask("request", system=layout.NAME, local=True, **words)
    said = ask("approve", pk=pk, local=True)["said"]
    ask("complete", pk=pk)
    return str(said)


WAYS: dict[str, Callable[[Spoiled, Scenario], str | None]] = {
    "guide": guide, "bare": bare, "calls": calls, "portal": portal,
}  # fmt: skip


@dataclass
class Found:
    """Of one procedure, by the way it went: the outages, in seconds; and what the portal's switch said of its parts."""

    refused: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def middle(self, way: str) -> float:
        return report.middle(self.refused[way])


def measure(spoiled: Spoiled, asking: Asking, scenario: Scenario, way: str, found: Found) -> None:
    spoiled.reset()
    asking.wait_healthy(RELEASE, time.time())
    began = time.time()
    said = WAYS[way](spoiled, scenario)
    asking.wait_healthy(RELEASE, time.time())
    found.refused[way].append(asking.refused(began))
    for part, seconds in re.findall(r"^(stopped|in place|started) in ([\d.]+) s$", said or "", re.MULTILINE):
        found.parts[part].append(float(seconds))


def test_procedures(place: Place) -> None:
    spoiled = Spoiled(place)
    found: dict[str, Found] = {scenario.name: Found() for scenario in SCENARIOS}
    with Asking(place.port) as asking:
        for number in range(ROUNDS):
            for scenario in SCENARIOS:
                for way in WAYS:
                    if way != "guide" or number < GUIDE_ROUNDS:
                        measure(spoiled, asking, scenario, way, found[scenario.name])
    told(found)
    for scenario in SCENARIOS:
        seen = found[scenario.name]
        assert seen.middle("portal") <= scenario.times * seen.middle("bare"), scenario.name


def told(found: dict[str, Found]) -> None:
    rows = []
    for scenario in SCENARIOS:
        seen = found[scenario.name]
        rows.append(
            [
                scenario.name,
                *(f"{seen.middle(way):.3f}" for way in WAYS),
                f"{seen.middle('portal') / seen.middle('bare'):.2f}",
                f"{scenario.times:.2f}",
                f"{seen.middle('portal') / seen.middle('calls'):.2f}",
                *(f"{report.middle(seen.parts[part]):.3f}" for part in ("stopped", "in place", "started")),
            ]
        )
    head = ["procedure", "(a) guide", "(b) bare", "(c) calls", "portal", "portal / (b)", "promised", "portal / (c)"]
    text = f"""
Seconds in which the sample refuses connections, asked every 5 ms, for each procedure from the same spoiled state to the
same restore point. (a) types the guide's own commands, with supervisorctl for systemctl; once. (b) types a stop, what
puts in place all that lies ready beside the checkout, and a start; (c) does the same by calls to supervisor, without
the Python program that supervisorctl is. Medians of {ROUNDS} rounds, all ways in turn.

{report.table([*head, "stop", "in place", "start"], rows)}

The last three columns are what the portal's switch itself takes; the rest of an outage is the service coming up. The
guide stops nothing for a partial restore, and restarts nothing: the service runs on with what was wrong until somebody
does. For dependencies it removes the environment of a running service, and only restarts it at the end: what the
service would have loaded meanwhile is not there. Its “reset metrics if needed” is left out of state, in all ways.
"""
    report.tell("The procedures", text, where=report.machine(report.sqlite(), f"load {os.getloadavg()[1]:.0f}"))
