"""A process of the portal under test, with its settings: the test tells it what to do, line by line, as a page or a
command would, and has it look into the database. `python -m tests.processes.driver`: a line is JSON, so is the answer.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LOOK = 0.002  # seconds between two looks for the moment to strike
PATIENCE = 120.0  # seconds: how long a thing may take at all, on a machine that has much else to do


# --- for the test ---------------------------------------------------------------------------------------------------


class Driver:
    """The other process. ask() raises AssertionError with its words when it cannot do it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.driver"],
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
        answer = json.loads(line)
        assert "error" not in answer, f"{do}: {answer['error']}"
        return answer["said"]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


# --- people ---------------------------------------------------------------------------------------------------------


def person(username: str) -> Any:
    from django.contrib.auth.models import User  # noqa: PLC0415 — Django is set up in main()

    return User.objects.get(username=username)


def add(text: str) -> None:
    from rollbacks import actions  # noqa: PLC0415

    actions.add_system(by=None, text=text)


def request(system: str, target: str) -> dict[str, int]:
    """Ask for a code rollback: {"rollback", "run"}."""
    from rollbacks import actions  # noqa: PLC0415
    from rollbacks.models import System  # noqa: PLC0415

    rollback = actions.request(
        system=System.objects.get(name=system),
        by=person("oncall"),
        procedure="code",
        target=target,
        severity="high",
        scope="multiple",
        reason="Answers 500",
    )
    return {"rollback": rollback.pk, "run": rollback.run.pk}


def approve(rollback: int) -> float:
    """Seconds that it took."""
    from rollbacks import actions  # noqa: PLC0415

    began = time.monotonic()
    actions.approve(rollback, by=person("techlead"))
    return time.monotonic() - began


def abort(rollback: int) -> None:
    from rollbacks import actions  # noqa: PLC0415

    actions.abort(rollback, by=person("oncall"), note="It has to go back")


def complete(rollback: int) -> None:
    from rollbacks import actions  # noqa: PLC0415

    actions.complete(rollback, by=person("oncall"), note="The next case is waiting")


def make_way(system: str) -> None:
    """Let what a test that failed has left behind come to its end, or to where it can be ended."""
    from rollbacks import actions  # noqa: PLC0415
    from rollbacks.models import ENDED, Rollback  # noqa: PLC0415

    def over() -> bool:
        for rollback in Rollback.objects.filter(system__name=system).exclude(state__in=ENDED):
            if end := {"monitoring": complete, "awaiting_approval": cancel, "held": settle}.get(rollback.state):
                end(rollback.pk)
        return not Rollback.objects.filter(system__name=system).exclude(state__in=ENDED).exists()

    def cancel(rollback: int) -> None:
        actions.cancel(rollback, by=person("oncall"), note="The next case is waiting")

    def settle(rollback: int) -> None:
        actions.settle(rollback, by=person("oncall"), note="The next case is waiting")

    until(over, PATIENCE, lambda: "an earlier rollback does not end")


def backup(system: str) -> dict[str, int]:
    """Ask for a backup: {"point", "run"}."""
    from rollbacks import actions  # noqa: PLC0415
    from rollbacks.models import System  # noqa: PLC0415

    point = actions.backup(system=System.objects.get(name=system), by=person("oncall"), reason="Before 1.3.0")
    return {"point": point.pk, "run": point.run.pk}


# --- what is known --------------------------------------------------------------------------------------------------


def await_state(rollback: int, states: list[str], seconds: float = PATIENCE) -> str:
    from rollbacks.models import Rollback  # noqa: PLC0415

    def look() -> str:
        found = Rollback.objects.get(pk=rollback)
        if found.state in ("held", "refused") and found.state not in states:
            raise RuntimeError(f"{found} is {found.state}: {found.trouble}")
        return str(found.state)

    return str(until(lambda: (now := look()) in states and now, seconds, lambda: f"it is {look()}, not {states}"))


def await_step(run: int, step: str) -> None:
    until(lambda: token_in(run, step, "running"), PATIENCE, lambda: f"{step} has not begun")


def await_backup(point: int, seconds: float = PATIENCE) -> dict[str, str]:
    from rollbacks.models import RestorePoint  # noqa: PLC0415

    ended = RestorePoint.objects.filter(pk=point, run__ended_at__isnull=False)
    found = until(ended.first, seconds, lambda: "the backup has not ended")
    return {"state": found.state, "problem": found.problem, "tag": found.tag}


def story(run: int) -> dict[str, Any]:
    """All that the portal knows of a run, in plain values."""
    from portal.ledger.models import rows_of  # noqa: PLC0415
    from rollbacks import runner  # noqa: PLC0415
    from rollbacks.models import Run  # noqa: PLC0415

    row = Run.objects.select_related("rollback", "restore_point", "system").get(pk=run)
    subject = row.rollback or row.restore_point
    assert subject is not None
    return {
        "state": str(subject.state),
        "trouble": row.rollback.trouble if row.rollback else "",
        "safety_tag": runner.safety_tag(row),
        "token": row.token,
        "holder": row.holder,
        "fence": row.system.fence,
        "steps": [
            {
                "name": step.name,
                "state": str(step.state),
                "token": step.token,
                "trouble": step.trouble,
                "ended_at": str(step.ended_at),
                "said": "".join(step.output.values_list("text", flat=True)),
            }
            for step in row.steps.all()
        ],
        "ledger": [
            {"number": each.number, "move": each.move, "target": each.target, "token": each.data.get("token")}
            for each in rows_of(subject).order_by("number")
        ],
    }


def verify_ledger() -> dict[str, Any]:
    from django.core.management import call_command  # noqa: PLC0415

    said = io.StringIO()
    call_command("verify_ledger", json=True, stdout=said, stderr=said)
    found: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    return found


# --- blows ----------------------------------------------------------------------------------------------------------


def freeze(run: int, step: str, state: str, whole: bool, after: float, slow: str) -> dict[str, Any]:
    """Stop the worker of the run (with `whole`, all of its processes) `after` seconds into this step, or into the
    planning when the step is "". Raises unless it stands still in that very step, and in no transaction.

    `slow`: the file that makes the host slow, there from the step before on, so that a short step can be hit.
    """
    try:
        until(lambda: is_near(run, step, state), PATIENCE, lambda: f"it never came near {step or 'the planning'}")
        Path(slow).touch()
        token = until(
            lambda: token_in(run, step, state), PATIENCE, lambda: f"{step or 'the planning'} was never {state}"
        )
        time.sleep(after)  # further into the step: where it is hit does not matter, that it is hit is checked below
        while True:
            pids = processes_of(run, whole)
            stop(pids)
            if token_in(run, step, state) != token:
                resume(pids)
                raise RuntimeError(f"{step or 'the planning'} was over before the worker could be stopped in it")
            if in_no_transaction(run):
                return {"token": token, "pids": pids}
            resume(pids)
    finally:
        Path(slow).unlink(missing_ok=True)


def kill(run: int, pids: list[int], token: int) -> float:
    """kill -9; returns after how many seconds somebody else has the run."""
    began = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await_successor(run, token)
    return time.monotonic() - began


def stop(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(is_still(pid) for pid in pids), 5, lambda: "it does not stand still")


def resume(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def await_successor(run: int, token: int, seconds: float = PATIENCE) -> float:
    """Seconds until a worker with a higher token has the run."""
    from rollbacks.models import Run  # noqa: PLC0415

    began = time.monotonic()
    until(Run.objects.filter(pk=run, token__gt=token).exists, seconds, lambda: "nobody took the run over")
    return time.monotonic() - began


def is_near(run: int, step: str, state: str) -> bool:
    """Is the step before it at work, or done?"""
    from rollbacks.models import Run, Step  # noqa: PLC0415

    if not step:
        return True
    if state == "undoing":
        return Run.objects.filter(pk=run, rollback__state="reverting").exists()
    found = list(Step.objects.filter(run=run).values_list("name", "state"))
    names = [name for name, _ in found]
    before = dict(zip(names[1:], (state for _, state in found), strict=False))
    return bool(names) and before.get(step, "done") in ("running", "done")


def token_in(run: int, step: str, state: str) -> int:
    """The token of the worker that is in this step now; 0 when none is."""
    from rollbacks.models import Run, Step  # noqa: PLC0415

    found: Run | Step | None
    if step:
        found = Step.objects.filter(run=run, name=step, state=state).first()
    else:
        found = Run.objects.filter(pk=run, rollback__state="planning", lease_until__isnull=False).first()
    return found.token if found else 0


def processes_of(run: int, whole: bool) -> list[int]:
    """The pool child that holds the run; with `whole` its main process first, and all of that one's children."""
    from rollbacks.models import Run  # noqa: PLC0415

    child = int(Run.objects.get(pk=run).holder.split(":")[2])
    return family(parent(child)) if whole else [child]


def family(pid: int) -> list[int]:
    """The process, then its children."""
    return [pid, *(each for each in every_process() if parent(each) == pid)]


def every_process() -> Iterable[int]:
    return (int(each.name) for each in Path("/proc").glob("[0-9]*"))


def stat(pid: int) -> list[str]:
    """State, parent, …; nothing of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ["", "0"]


def parent(pid: int) -> int:
    return int(stat(pid)[1])


def is_still(pid: int) -> bool:
    return stat(pid)[0] in ("T", "Z", "")


def in_no_transaction(run: int) -> bool:
    """Can the run be moved now? A process that is stopped inside a transaction keeps everybody else out, and that is
    another story."""
    from django.db import OperationalError, connection, transaction  # noqa: PLC0415

    from portal.ledger.models import take_turn  # noqa: PLC0415
    from rollbacks.models import Run  # noqa: PLC0415

    lite = connection.vendor == "sqlite"
    try:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 100" if lite else "SET lock_timeout = 100")
        with transaction.atomic():
            take_turn()
            Run.objects.select_for_update(of=("self",)).get(pk=run)
    except OperationalError:
        return False
    finally:
        connection.close()  # the next one is opened with the portal's own patience
    return True


def until(found: Callable[[], Any], seconds: float, otherwise: Callable[[], str]) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds:.0f} s: {otherwise()}")
        time.sleep(LOOK)
    return answer


# --- the process ----------------------------------------------------------------------------------------------------

DEEDS: list[Callable[..., Any]] = [
    *(add, request, approve, abort, complete, make_way, backup),
    *(await_state, await_step, await_backup, story, verify_ledger),
    *(freeze, kill, stop, resume, await_successor, family),
]


def main() -> None:
    import django  # noqa: PLC0415

    django.setup()
    logging.getLogger("rollbacks.tasks").setLevel(logging.ERROR)  # that the broker may be down is meant
    known = {each.__name__: each for each in DEEDS}
    for line in sys.stdin:
        words = json.loads(line)
        try:
            answer = {"said": known[words.pop("do")](**words)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
