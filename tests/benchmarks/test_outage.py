"""How long nobody is served: the guide's own script, a bare restart, and the portal, on the same sample system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from portal.sample import control, layout
from portal.sample.layout import PROGRAM, supervisor
from tests.benchmarks import report
from tests.benchmarks.asking import Asking
from tests.benchmarks.place import GOOD, RELEASE, TESTS, Place, running_portal

ROUNDS = 5
BARE_TIMES = 1.25  # the portal's outage is at most so many times that of a bare restart
MORE_THAN_TESTS = 3.0  # seconds from approval to healthy, on top of the system's own tests

GUIDE = """
set -e
{supervisorctl} stop {unit}
git checkout --quiet {target}
. .venv/bin/activate
pip install --disable-pip-version-check -r requirements.txt
{tests}
{supervisorctl} start {unit}
"""
BARE = """
set -e
{supervisorctl} stop {unit}
git checkout --quiet {target}
{supervisorctl} start {unit}
"""


def script(place: Place, words: str) -> None:
    """Run it as a person would, in the checkout."""
    ctl = f"{sys.executable} -m supervisor.supervisorctl -c {supervisor(place.sample).config}"
    text = words.format(supervisorctl=ctl, unit=PROGRAM, target=GOOD, tests=TESTS)
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["/bin/sh", "-c", text], cwd=place.root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def fit_environment(place: Place) -> None:
    """The good release's packages into the live environment, which the bad one runs on with: nothing to install."""
    listed = place.home / "requirements.txt"
    listed.write_text(layout.git(place.root, "show", f"{GOOD}:requirements.txt") + "\n")
    words = [str(place.root / ".venv/bin/python"), "-m", "pip", "install", "--quiet", "-r", str(listed)]
    layout.run(words, place.root)


def broken(place: Place, asking: Asking) -> None:
    """The bad release is deployed and answers 500; a moment of quiet follows."""
    since = time.time()
    control.deploy_bad(place.sample)
    deadline = time.monotonic() + 30
    while not any(each.asked > since and each.status == 500 for each in list(asking.answers)):
        assert time.monotonic() < deadline, "the bad release does not answer"
        time.sleep(0.02)
    time.sleep(1.2)  # supervisor calls it running only now


def measured(asking: Asking, act: Callable[[], Any]) -> dict[str, Any]:
    """Seconds refused, and from the beginning to the first healthy answer."""
    began = time.time()
    found = act() or {}
    healthy = asking.wait_healthy(RELEASE, began)
    time.sleep(0.1)
    return {"refused": asking.refused(began), "healthy": healthy - found.get("approved", began), **found}


def guide(place: Place, asking: Asking) -> dict[str, Any]:
    broken(place, asking)
    return measured(asking, lambda: script(place, GUIDE))


def bare(place: Place, asking: Asking) -> dict[str, Any]:
    broken(place, asking)
    fit_environment(place)
    return measured(asking, lambda: script(place, BARE))


def floor(place: Place, asking: Asking) -> dict[str, Any]:
    """The same without a single interpreter to boot: what a restart costs, whoever does it."""
    broken(place, asking)
    fit_environment(place)

    def act() -> None:
        manager = supervisor(place.sample)
        manager.call("stopProcess", PROGRAM)
        layout.git(place.root, "checkout", "--quiet", GOOD)
        manager.call("startProcess", PROGRAM, False)

    return measured(asking, act)


def portal(place: Place, asking: Asking, *, local: bool = True) -> dict[str, Any]:
    broken(place, asking)
    pk = place.driver.ask("request", system=layout.NAME, target=GOOD, local=local)
    found = measured(asking, lambda: place.driver.ask("approve", pk=pk, local=local))
    place.driver.ask("complete", pk=pk)
    return found


def test_outage(place: Place) -> None:
    control.start_supervisor(place.sample)
    ways: dict[str, Callable[[Place, Asking], dict[str, Any]]]
    ways = {"guide": guide, "bare": bare, "floor": floor, "portal": portal}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in [*ways, "workers"]}
    with Asking(place.port) as asking:
        asking.wait_healthy(RELEASE, 0)
        portal(place, asking)  # the environment is built here, and kept from now on
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rounds[name].append(way(place, asking))
    with running_portal(place), Asking(place.port) as asking:
        place.introduce()  # `up` has made the sample known as it is, with tests that take no time
        for _ in range(ROUNDS):
            rounds["workers"].append(portal(place, asking, local=False))

    assert all(each["kept"] for name in ("portal", "workers") for each in rounds[name])
    told(rounds)
    refused = {name: report.middle([each["refused"] for each in found]) for name, found in rounds.items()}
    assert max(refused["portal"], refused["workers"]) <= BARE_TIMES * refused["bare"]
    over = report.middle([each["healthy"] - each["tests"] for each in rounds["workers"]])
    assert over <= MORE_THAN_TESTS


NAMES = {
    "guide": "(a) the guide's script, step for step",
    "bare": "(b) bare stop, checkout, start",
    "floor": "    the same, by calls to supervisor",
    "portal": "(c) the portal, in one process",
    "workers": "(c) the portal, by its workers",
}


def told(rounds: dict[str, list[dict[str, Any]]]) -> None:
    bare_seconds = report.middle([each["refused"] for each in rounds["bare"]])
    rows = []
    for name, title in NAMES.items():
        refused = [each["refused"] for each in rounds[name]]
        rows.append(
            [
                title,
                f"{report.middle(refused):.3f}",
                f"{min(refused):.3f} to {max(refused):.3f}",
                f"{report.middle(refused) / bare_seconds:.2f}",
                f"{report.middle([each['healthy'] for each in rounds[name]]):.2f}",
            ]
        )
    lines = report.table(["way back", "refused, s", "of the rounds", "times (b)", "to healthy, s"], rows)
    ran = rounds["workers"]
    healthy, tests = (report.middle([each[key] for each in ran]) for key in ("healthy", "tests"))
    verified = report.middle([each["verified"] - each["approved"] for each in ran])
    claimed = report.middle([each["started"] - each["approved"] for each in ran])
    steps = report.table(
        ["step", "s"],
        [[name, f"{report.middle([each['steps'][name] for each in ran]):.3f}"] for name in ran[0]["steps"]],
    )
    text = f"""
Seconds in which the sample refuses connections, asked every 5 ms; from release 1.3.0, which answers 500, back to
1.2.0, with a test suite of {tests:.1f} s. Medians of {ROUNDS} rounds. The portal's environment of 1.2.0 was kept from
an earlier rollback; for (b) the live environment already had the right packages, for (a) pip installs them. (b) types
three commands, and supervisorctl is a Python program that has to start; the line under it has no command to start.

{lines}

“To healthy” is from the first word of the script, or from the approval. By the portal's workers that is
{healthy:.2f} s, {healthy - tests:.2f} s more than the system's own tests (promised: {MORE_THAN_TESTS:.0f} s more).
A worker had planned again and begun after {claimed:.2f} s; after {verified:.2f} s the rollback was verified, smoke test
included. Where the time goes, by the workers:

{steps}
"""
    report.tell("The outage", text, where=report.machine(report.sqlite()))
