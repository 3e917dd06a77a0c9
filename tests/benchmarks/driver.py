"""A process of the portal with its own settings (PORTAL_HOME), which the benchmark tells what to do, line by line:
`python -m tests.benchmarks.driver`. A line is JSON, {"do": name, …}; so is the answer."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds
NOTHING = 20  # times that a run is carried again when nothing is to be done


# --- for the benchmark ----------------------------------------------------------------------------------------------


class Driver:
    """The other process. ask() raises AssertionError with its words when it cannot do it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.driver"],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **words: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the driver has ended with code {self.process.wait()} at {do!r}"
        return json.loads(line)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def environment(home: Path) -> dict[str, str]:
    """A portal of its own in this folder, on SQLite and the embedded broker, whatever this run's settings are."""
    taken = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
    kept = {name: value for name, value in os.environ.items() if name not in taken}
    return kept | {"PORTAL_HOME": str(home), "PORTAL_DEMO": "on", "DJANGO_SETTINGS_MODULE": "portal.settings"}


# --- the process ----------------------------------------------------------------------------------------------------


def prepare() -> None:
    from django.core.management import call_command  # noqa: PLC0415 — Django is set up in main()

    call_command("migrate", verbosity=0, interactive=False)
    call_command("seed", demo=True, stdout=io.StringIO())


def fill() -> dict[str, int]:
    """Years of use; the rows of the tables that grow."""
    from tests.benchmarks.filling import Filling, Numbers  # noqa: PLC0415

    return Filling(Numbers()).fill()


def add(text: str) -> None:
    from rollbacks import actions  # noqa: PLC0415

    actions.add_system(by=None, text=text)


def backup(system: str) -> str:
    """A restore point, made in this process; its tag."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from rollbacks import actions, runner  # noqa: PLC0415
    from rollbacks.models import RestorePoint, System  # noqa: PLC0415

    made = actions.backup(system=System.objects.get(name=system), by=User.objects.get(username="oncall"))
    runner.carry(made.run.pk)
    point = RestorePoint.objects.get(pk=made.pk)
    if point.state != "verified":
        raise RuntimeError(f"{point} is {point.state}: {point.problem}")
    return point.tag


def request(
    system: str, target: str, local: bool, procedure: str = "code", wishes: dict[str, Any] | None = None
) -> int:
    """Ask for a rollback; returns when its plan waits for approval."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from rollbacks import actions, runner  # noqa: PLC0415
    from rollbacks.models import System  # noqa: PLC0415

    rollback = actions.request(
        system=System.objects.get(name=system),
        by=User.objects.get(username="oncall"),
        procedure=procedure,
        target=target,
        severity="high",
        scope="multiple",
        reason="Answers 500",
        **(wishes or {}),
    )
    if local:
        runner.carry(rollback.run.pk)
    await_state(rollback.pk, "awaiting_approval")
    return int(rollback.pk)


def approve(pk: int, local: bool) -> dict[str, Any]:
    """Approve, and see it through to its watch. Times are time.time()."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from rollbacks import actions, runner  # noqa: PLC0415

    lead = User.objects.get(username="techlead")
    approved = time.time()
    rollback = actions.approve(pk, by=lead)
    if local:
        runner.carry(rollback.run.pk)
    run = await_state(pk, "monitoring").run
    steps = {step.name: step for step in run.steps.all()}
    return {
        "approved": approved,
        "started": run.started_at.timestamp(),
        "verified": run.ended_at.timestamp(),
        "tests": steps["try"].facts["seconds"].get("test", 0.0) if "try" in steps else 0.0,
        "steps": {name: step.seconds for name, step in steps.items()},
        "kept": "environment" in steps and steps["environment"].facts.get("kept", False),
        "said": "".join(steps["switch"].output.values_list("text", flat=True)),
    }


def carried(pk: int) -> dict[str, Any]:
    """Approve and carry it in this process, to its watch or (when a step failed) back again, with instruments on."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from rollbacks import actions  # noqa: PLC0415
    from rollbacks.models import Rollback  # noqa: PLC0415

    run = actions.approve(pk, by=User.objects.get(username="techlead")).run
    found = fitted().carry(run.pk)
    run.refresh_from_db()
    assert run.started_at
    assert run.ended_at
    nothing = [fitted().carry(run.pk) for _ in range(NOTHING)]
    return found | {
        "state": Rollback.objects.get(pk=pk).state,
        "run": (run.ended_at - run.started_at).total_seconds(),
        "nothing": [each["seconds"] for each in nothing],
        "nothing_statements": nothing[0]["statements"],
    }


def vote(pk: int) -> None:
    """Approve, and leave it to whoever works."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from rollbacks import actions  # noqa: PLC0415

    actions.approve(pk, by=User.objects.get(username="techlead"))


def work() -> list[dict[str, Any]]:
    """One of several workers: carries what is due until nothing is; of each run what its instruments found."""
    from rollbacks import runner  # noqa: PLC0415
    from rollbacks.models import Run  # noqa: PLC0415

    found = []
    while due := runner.due():
        run = due[os.getpid() % len(due)].pk  # not all of them at the same one
        seen = fitted().carry(run)
        if seen["steps"]:  # else another was quicker
            row = Run.objects.get(pk=run)
            assert row.started_at
            assert row.ended_at
            found.append(seen | {"worker": os.getpid(), "run": (row.ended_at - row.started_at).total_seconds()})
    return found


def states(pks: list[int]) -> list[str]:
    from rollbacks.models import Rollback  # noqa: PLC0415

    return [Rollback.objects.get(pk=pk).state for pk in pks]


@cache
def fitted() -> Any:
    from tests.benchmarks.instruments import Instruments  # noqa: PLC0415

    instruments = Instruments()
    instruments.fit()
    return instruments


def complete(pk: int) -> None:
    from django.contrib.auth.models import User  # noqa: PLC0415

    from rollbacks import actions  # noqa: PLC0415

    actions.complete(pk, by=User.objects.get(username="oncall"), note="The next round is waiting")


def add_source() -> str:
    """A source, and its token."""
    from django.contrib.auth.models import User  # noqa: PLC0415

    from incidents import arriving  # noqa: PLC0415

    return arriving.add_source(by=User.objects.get(username="techlead"), name="bench", kind="generic")[1]


def counted() -> dict[str, int]:
    """What became of its messages."""
    from incidents.models import Alert  # noqa: PLC0415

    counts = list(Alert.objects.values_list("count", flat=True))
    return {"alerts": len(counts), "messages": sum(counts)}


def put_messages(name: str, count: int, seconds: float) -> None:
    """Evenly over so many seconds, each in a transaction of its own, to `<name>-<number>@example.org`."""
    from django.db import transaction  # noqa: PLC0415

    from incidents import notify  # noqa: PLC0415
    from incidents.models import Event  # noqa: PLC0415

    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
        with transaction.atomic():
            notify.put(
                Event.MOVED,
                key=f"{name} {number}",
                to=[],
                emails=[f"{name}-{number}@example.org"],
                subject="Incident 7 is mitigated",
                text="The planner answers again.",
                url="/incidents/7/",
            )


def outbox(name: str) -> dict[str, Any]:
    """What became of them, when all are sent: seconds of each, states, and the addresses of those cut short."""
    from incidents.models import Notification  # noqa: PLC0415
    from incidents.models.notification import WAITING, Attempt, DeliveryState  # noqa: PLC0415

    mine = Notification.objects.filter(address__startswith=f"{name}-")
    deadline = time.monotonic() + PATIENCE
    while mine.filter(state__in=[*WAITING, DeliveryState.SENDING]).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    cut = mine.filter(attempts__outcome=Attempt.Outcome.INTERRUPTED)
    return {
        "took": [each.took for each in mine.select_related("message") if each.took is not None],
        "states": dict(Counter(mine.values_list("state", flat=True))),
        "interrupted": sorted(set(cut.values_list("address", flat=True))),
    }


def await_state(pk: int, state: str) -> Any:
    from rollbacks.models import Rollback  # noqa: PLC0415

    deadline = time.monotonic() + PATIENCE
    while (rollback := Rollback.objects.get(pk=pk)).state != state:
        if rollback.trouble or time.monotonic() > deadline:
            raise RuntimeError(f"{rollback} is {rollback.state} and not {state}: {rollback.trouble}")
        time.sleep(0.05)
    return rollback


KNOWN: list[Callable[..., Any]] = [
    prepare, fill, add, backup, request, approve, vote, work, states, carried, complete, add_source, counted,
    put_messages, outbox,
]  # fmt: skip


def main() -> None:
    import django  # noqa: PLC0415

    django.setup()
    logging.getLogger("rollbacks.tasks").setLevel(logging.ERROR)  # that no broker runs yet is meant
    logging.getLogger("incidents.tasks").setLevel(logging.ERROR)
    known: dict[str, Callable[..., Any]] = {each.__name__: each for each in KNOWN}
    for line in sys.stdin:
        words = json.loads(line)
        print(json.dumps(known[words.pop("do")](**words)), flush=True)


if __name__ == "__main__":
    main()
