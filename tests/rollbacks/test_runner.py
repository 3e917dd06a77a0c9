"""The machine's moves, one by one: who may work, what a worker that was too slow may not, and what ends by itself.

With real processes the same is seen in tests/processes/.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.utils import timezone

from incidents.models import Incident
from portal.ledger.models import record, rows_of
from rollbacks import actions, runner, tasks
from rollbacks.heartbeat import Heartbeat
from rollbacks.models import HealthChange, RestorePoint, Rollback, Run, Step, StepOutput, System
from rollbacks.procedures.known import PROCEDURES
from rollbacks.tools import command, fence, files, git, guard, probe
from tests.conftest import again, asked, manifest_text
from tests.conftest import git as by_hand

pytestmark = pytest.mark.django_db(transaction=True)

SICK = probe.Health(ok=False, answered=True, status=500, ms=3, detail="500: broken")
WELL = probe.Health(ok=True, answered=True, status=200, ms=3, detail="200 in 3 ms")


def claimed(rollback: Rollback) -> runner.Claim:
    mine = runner.claim(rollback.run.pk)
    assert mine is not None
    return mine


def run_of(rollback: Rollback) -> Run:
    """As it is now."""
    return Run.objects.get(rollback=rollback)


def step_of(rollback: Rollback, name: str) -> Step:
    return Step.objects.get(run__rollback=rollback, name=name)


def moves(subject: Rollback | RestorePoint) -> list[str]:
    return [row.move for row in rows_of(subject).order_by("number")]


def later(time_machine: Any, **words: float) -> None:
    time_machine.move_to(timezone.now() + timedelta(**words))


def lapse(rollback: Rollback) -> None:
    """Its worker was silent for too long."""
    Run.objects.filter(rollback=rollback).update(lease_until=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own."""
    started = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield started
    started.kill()
    started.wait()


@pytest.fixture
def dead() -> str:
    """The identity of a process of this host that has been killed."""
    process = subprocess.Popen(["sleep", "600"])
    identity = f"{probe.boot()}:{probe.namespace()}:{process.pid}:{probe.stat(process.pid)[1]}"
    process.kill()
    process.wait()
    return identity


@pytest.fixture
def service(checkout: Path) -> Iterator[str]:
    """What is deployed, over HTTP: the bad release answers 500. Its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if "BROKEN" in (checkout / "app.py").read_text() else 200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()


# --- claims ---------------------------------------------------------------------------------------------------------


def test_each_claim_takes_the_next_token_of_its_system(approved: Rollback, system: System) -> None:
    first = claimed(approved)
    runner.release(first)
    second = claimed(approved)
    assert second.token == first.token + 1 == System.objects.get(pk=system.pk).fence
    run = run_of(approved)
    assert (run.token, run.holder) == (second.token, probe.identity())


def test_a_living_lease_keeps_everybody_else_out(approved: Rollback, settings: Any, time_machine: Any) -> None:
    first = claimed(approved)
    assert runner.claim(approved.run.pk) is None
    later(time_machine, seconds=settings.LEASE_SECONDS - 1)
    assert runner.claim(approved.run.pk) is None
    later(time_machine, seconds=2)
    assert claimed(approved).token > first.token


def test_a_worker_that_is_known_to_be_dead_keeps_no_lease(approved: Rollback, dead: str) -> None:
    first = claimed(approved)
    Run.objects.filter(rollback=approved).update(holder=dead)
    assert runner.due() == [approved.run]
    assert claimed(approved).token > first.token


def test_a_worker_of_another_host_is_given_its_whole_lease(approved: Rollback, dead: str, time_machine: Any) -> None:
    claimed(approved)
    Run.objects.filter(rollback=approved).update(holder=dead.replace(probe.boot(), "another-boot"))
    assert runner.claim(approved.run.pk) is None
    later(time_machine, seconds=16)
    assert runner.claim(approved.run.pk) is not None


def test_one_worker_per_system(approved: Rollback, system: System, oncall: User) -> None:
    point = actions.backup(system=system, by=oncall)
    mine = claimed(approved)
    assert runner.claim(point.run.pk) is None
    runner.carry(point.run.pk)
    assert RestorePoint.objects.get(pk=point.pk).state == "creating", "not while a rollback is at work there"
    runner.release(mine)
    runner.carry(point.run.pk)
    assert RestorePoint.objects.get(pk=point.pk).state == "verified"


@pytest.mark.parametrize("state", ["running", "reverting"])
def test_an_interrupted_rollback_goes_before_a_backup(running: Rollback, oncall: User, state: str) -> None:
    """Its worker has died, perhaps with the service down: a backup then would keep half a switch, and call it good."""
    if state == "reverting":
        actions.abort(running.pk, by=oncall, note="Wrong system")
    point = actions.backup(system=running.system, by=oncall)
    runner.carry(point.run.pk)
    assert RestorePoint.objects.get(pk=point.pk).state == "creating"
    runner.carry(running.run.pk)
    assert again(running).state in ("monitoring", "reverted"), again(running).trouble
    runner.carry(point.run.pk)
    assert RestorePoint.objects.get(pk=point.pk).state == "verified"


def test_a_worker_of_another_host_touches_nothing(approved: Rollback, settings: Any, checkout: Path) -> None:
    """Where the same directory exists by chance, or is mounted."""
    settings.HOST = "beta"
    tasks.carry(approved.run.pk)
    assert again(approved).state == "approved"
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    settings.HOST = "local"
    tasks.carry(approved.run.pk)
    assert again(approved).state == "monitoring"


@pytest.mark.parametrize("name", ["planned", "watched", "held"])
def test_a_hint_that_comes_too_late_changes_nothing(name: str, request: pytest.FixtureRequest) -> None:
    """Who carried it out stays written there, and no token is spent."""
    rollback = request.getfixturevalue(name)
    before = Run.objects.filter(rollback=rollback).values().get(), rollback.system.fence, moves(rollback)
    tasks.carry(rollback.run.pk)
    after = again(rollback)
    assert (Run.objects.filter(rollback=rollback).values().get(), after.system.fence, moves(after)) == before


# --- what is due ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("rollback", True), ("planned", False), ("approved", True), ("running", True), ("watched", False)],
)
def test_what_wants_a_worker(name: str, wanted: bool, request: pytest.FixtureRequest) -> None:
    rollback = request.getfixturevalue(name)
    assert runner.due() == ([rollback.run] if wanted else [])


def test_an_aborted_watch_wants_a_worker(watched: Rollback, oncall: User) -> None:
    actions.abort(watched.pk, by=oncall, note="It is worse")
    assert runner.due() == [watched.run]


def test_a_backup_wants_a_worker_until_it_has_ended(system: System, oncall: User) -> None:
    point = actions.backup(system=system, by=oncall)
    assert runner.due() == [point.run]
    runner.carry(point.run.pk)
    assert runner.due() == []


def test_what_is_held_is_not_due_until_its_lease_is_over(running: Rollback, settings: Any, time_machine: Any) -> None:
    claimed(running)
    assert runner.due() == []
    later(time_machine, seconds=settings.LEASE_SECONDS + 1)
    assert runner.due() == [running.run]


def test_the_sweeper_hands_on_and_ends_what_is_late(
    approved: Rollback, monkeypatch: pytest.MonkeyPatch, time_machine: Any
) -> None:
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr("rollbacks.tasks.send", lambda *args, **words: sent.append(args))
    tasks.sweep()
    assert sent == [(tasks.carry, "host.local", approved.run.pk)]
    later(time_machine, minutes=61)
    tasks.sweep()
    assert again(approved).state == "expired"


# --- a worker that was too slow -------------------------------------------------------------------------------------


def test_a_worker_that_was_taken_over_writes_nothing(running: Rollback, system: System) -> None:
    slow = claimed(running)
    lapse(running)
    fast = claimed(running)
    before = moves(running)
    run = run_of(running)
    with Heartbeat(slow.run, slow.token) as heart:
        with pytest.raises(runner.Lost):
            runner.turn(slow, heart)
        with pytest.raises(runner.Lost):
            runner.step_ended(slow, run, run.steps.all()[0], "")
        with pytest.raises(runner.Lost):
            runner.finish(slow, run)
    runner.release(slow)
    now = run_of(running)
    assert (now.token, now.is_held_now, now.ended_at) == (fast.token, True, None)
    assert {step.state for step in now.steps.all()} == {"waiting"}
    assert (again(running).state, moves(running)) == ("running", before)


def test_what_it_says_is_not_kept(running: Rollback) -> None:
    slow = claimed(running)
    step = running.run.steps.all()[0]
    with Heartbeat(slow.run, slow.token) as heart:
        heart.attend(step.pk, running.system.manifest)
        heart.say("still mine\n")
        heart.flush()
        lapse(running)
        claimed(running)
        heart.say("too late\n")
    assert "".join(step.output.values_list("text", flat=True)) == "still mine\n"


def test_a_higher_token_of_our_own_on_the_host_is_no_other_portal(running: Rollback) -> None:
    """It stood still, was taken over, and wakes up at the fence: it lets go, and nothing is put on hold."""
    slow = claimed(running)
    lapse(running)
    fast = claimed(running)
    fence.hold(running.system.manifest.state_dir, fast.token, fast.holder)
    with pytest.raises(runner.Lost):
        runner.superseded(slow, "Another worker holds this system")
    assert (again(running).state, again(running).trouble) == ("running", "")


def test_its_tools_do_nothing_more_to_the_host(running: Rollback, checkout: Path) -> None:
    """The middle of a step is no place where the database is asked; the fence on the host is."""
    slow = claimed(running)
    with Heartbeat(slow.run, slow.token) as heart:
        run = run_of(running)
        context = runner.context_for(slow, run, heart, run.steps.all())
    with runner.fenced(context):
        git.git(checkout, "tag", "mine")
        fence.hold(context.state_dir, slow.token + 1, "a successor")
        with pytest.raises(fence.Superseded):
            git.git(checkout, "tag", "too-late")
        with pytest.raises(fence.Superseded):
            files.write(checkout / "too-late", b"")
        with pytest.raises(fence.Superseded):
            files.make_folder(checkout / "too-late")
        with pytest.raises(fence.Superseded):
            command.run(["touch", "too-late"], cwd=checkout)
    assert by_hand(checkout, "tag", "--list", "mine", "too-late") == "mine"
    assert not (checkout / "too-late").exists()
    guard.ask()  # and afterwards nobody is asked


# --- taking over ----------------------------------------------------------------------------------------------------


def test_a_step_is_taken_over_and_what_its_worker_left_running_is_ended(
    running: Rollback, dead: str, sleeper: subprocess.Popen[bytes]
) -> None:
    old = claimed(running)
    Run.objects.filter(rollback=running).update(holder=dead)
    Step.objects.filter(run=old.run, name="preflight").update(state="running", token=old.token)
    groups = running.system.manifest.state_dir / "commands"
    groups.mkdir(parents=True)
    (groups / f"{sleeper.pid}-{command.start_time(sleeper.pid)}").touch()

    runner.carry(old.run)

    assert again(running).state == "monitoring", again(running).trouble
    assert sleeper.wait(5) == -9
    step = step_of(running, "preflight")
    assert (step.state, step.token > old.token) == ("done", True)
    assert "taken over by" in "".join(step.output.values_list("text", flat=True))
    row = rows_of(running).get(move="step preflight taken over")
    assert (row.data["token"], row.actor) == (step.token, None)


def test_a_step_that_ends_every_worker_is_not_tried_for_ever(
    running: Rollback, dead: str, oncall: User, tech_lead: User
) -> None:
    """It takes all memory, say: the sixth worker gives it up, and puts back what was found."""
    step = Step.objects.get(run=running.run, name="preflight")
    for _ in range(runner.MOST_TAKEOVERS):
        with transaction.atomic():
            record(running, "step preflight taken over", by=None)
    old = claimed(running)
    Run.objects.filter(rollback=running).update(holder=dead)
    Step.objects.filter(pk=step.pk).update(state="running", token=old.token)

    runner.carry(old.run)

    assert again(running).state == "reverted"
    assert "6 workers died one after the other while they were at it" in again(running).trouble
    assert "not tried again. Look for the reason on the host" in again(running).trouble
    assert runner.due() == []


def test_what_ended_workers_before_a_person_looked_does_not_count(running: Rollback, dead: str) -> None:
    with transaction.atomic():
        for _ in range(runner.MOST_TAKEOVERS):
            record(running, "step preflight taken over", by=None)
        record(running, "resume", by=None)
    old = claimed(running)
    Run.objects.filter(rollback=running).update(holder=dead)
    Step.objects.filter(run=old.run, name="preflight").update(state="running", token=old.token)
    runner.carry(old.run)
    assert again(running).state == "monitoring", again(running).trouble


def test_an_undo_that_ends_every_worker_is_left_to_a_person(watched: Rollback, dead: str, oncall: User) -> None:
    actions.abort(watched.pk, by=oncall, note="It is worse")
    with transaction.atomic():
        for _ in range(runner.MOST_TAKEOVERS):
            record(watched, "step health undo taken over", by=None)
    old = claimed(watched)
    Run.objects.filter(rollback=watched).update(holder=dead)
    Step.objects.filter(run=old.run, name="record").update(state="undone")
    Step.objects.filter(run=old.run, name="health").update(state="undoing", token=old.token)

    runner.carry(old.run)

    now = again(watched)
    assert now.state == "held"
    assert "6 workers died one after the other" in now.trouble
    assert runner.due() == []

    actions.revert(watched.pk, by=oncall, note="The host has more memory now")
    runner.carry(old.run)
    assert again(watched).state == "reverted", again(watched).trouble


def test_an_undo_is_taken_over(watched: Rollback, checkout: Path, dead: str, oncall: User) -> None:
    actions.abort(watched.pk, by=oncall, note="It is worse")
    old = claimed(watched)
    Run.objects.filter(rollback=watched).update(holder=dead)
    Step.objects.filter(run=old.run, name="record").update(state="undone")
    Step.objects.filter(run=old.run, name="health").update(state="undoing", token=old.token)

    runner.carry(old.run)

    assert again(watched).state == "reverted", again(watched).trouble
    assert {step.state for step in run_of(watched).steps.all()} == {"undone"}
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"


def test_all_steps_done_and_killed_before_the_last_word(running: Rollback) -> None:
    Step.objects.filter(run=running.run).update(state="done")
    runner.carry(running.run.pk)
    assert (again(running).state, again(running).log_entry.outcome) == ("monitoring", "succeeded")


# --- between two looks ----------------------------------------------------------------------------------------------


def test_what_is_asked_while_a_worker_lets_go_is_done_by_it(
    rollback: Rollback, tech_lead: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hint finds the run held, and does nothing: it must not have to wait for the sweeper."""
    release = runner.release

    def with_an_approval_just_before(mine: runner.Claim) -> None:
        if again(rollback).state == "awaiting_approval":
            actions.approve(rollback.pk, by=tech_lead)
            tasks.carry(rollback.run.pk)
            assert again(rollback).state == "approved"
        release(mine)

    monkeypatch.setattr(runner, "release", with_an_approval_just_before)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "monitoring", again(rollback).trouble


def test_an_abort_between_look_and_step_begins_no_step(running: Rollback, oncall: User) -> None:
    mine = claimed(running)
    run = Run.objects.select_related("rollback", "restore_point", "system").get(pk=mine.run)
    actions.abort(running.pk, by=oncall, note="Wrong system")
    with Heartbeat(mine.run, mine.token) as heart:
        assert runner.next_step(mine, run, heart) is True, "look again"
    assert {step.state for step in run.steps.all()} == {"waiting"}


def test_a_lease_that_ended_in_a_step_does_not_fail_it(
    matrix: None, checkout: Path, oncall: User, tech_lead: User, settings: Any
) -> None:
    """The database did not answer for longer than the lease: the step is ended, and begun again by whoever comes."""
    settings.LEASE_SECONDS = 0.5
    system = actions.add_system(by=None, text=manifest_text(checkout, f"test -e {checkout}/logs/go || sleep 600"))[0]
    rollback = asked(system, oncall)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    mine = claimed(rollback)
    heart = Heartbeat(mine.run, mine.token)  # one that never beats
    with pytest.raises(runner.Lost):
        runner.work(mine, heart)
    assert (again(rollback).state, step_of(rollback, "try").state) == ("running", "running")

    runner.release(mine)
    (checkout / "logs" / "go").touch()
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "monitoring", again(rollback).trouble


# --- the pulse ------------------------------------------------------------------------------------------------------


@pytest.fixture
def beating(running: Rollback, settings: Any) -> Iterator[Heartbeat]:
    """A worker's pulse, with a lease of a second."""
    settings.LEASE_SECONDS = 1
    mine = claimed(running)
    with Heartbeat(mine.run, mine.token) as heart:
        yield heart


def until(true: Callable[[], Any], seconds: float = 20) -> None:

    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_lease_is_renewed_while_it_beats(beating: Heartbeat) -> None:
    first = Run.objects.get(pk=beating.run).lease_until
    assert first is not None
    until(lambda: (now := Run.objects.get(pk=beating.run).lease_until) and now > first + timedelta(seconds=1))
    assert not beating.stopped()


def test_it_goes_on_beating_when_something_cannot_be_written(beating: Heartbeat, tmp_path: Path) -> None:
    """A full disk must not cost the lease: two workers would be at work."""
    beating.prober_file = tmp_path  # a folder: reading it fails as a broken disk does
    first = Run.objects.get(pk=beating.run).lease_until
    assert first is not None
    until(lambda: (now := Run.objects.get(pk=beating.run).lease_until) and now > first + timedelta(seconds=1))


def test_it_notices_that_it_was_taken_over(beating: Heartbeat, running: Rollback) -> None:
    lapse(running)
    successor = claimed(running)
    until(beating.lost.is_set)
    assert beating.stopped()
    assert run_of(running).token == successor.token


def test_it_notices_an_abort_which_stops_no_undo(beating: Heartbeat, running: Rollback, oncall: User) -> None:
    actions.abort(running.pk, by=oncall, note="Wrong system")
    until(beating.stopped)
    assert not beating.lost.is_set()
    beating.attend(running.run.steps.all()[0].pk, running.system.manifest, undoing=True)
    assert not beating.stopped()


def test_a_lease_that_was_feared_to_be_lost_is_not_renewed(running: Rollback) -> None:
    """The step was told to stop: from then on somebody else may have the run."""
    mine = claimed(running)
    heart = Heartbeat(mine.run, mine.token)
    heart.renewed -= 60
    assert heart.stopped()
    before = run_of(running).lease_until
    heart.renew()
    assert (heart.stopped(), run_of(running).lease_until) == (True, before)
    with pytest.raises(runner.Lost):
        runner.turn(mine, heart)


def test_what_a_step_said_outlives_a_database_that_is_away(running: Rollback, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = claimed(running)
    heart = Heartbeat(mine.run, mine.token)
    heart.attend(running.run.steps.all()[0].pk, running.system.manifest)
    heart.say("before\n")
    with monkeypatch.context() as away:
        away.setattr(StepOutput.objects, "create", lambda **fields: (_ for _ in ()).throw(OperationalError("away")))
        with pytest.raises(OperationalError):
            heart.store()
    heart.say("after\n")
    heart.flush()
    assert "".join(StepOutput.objects.values_list("text", flat=True)) == "before\nafter\n"


def test_the_last_beat_leaves_the_measured_times_as_they_are(running: Rollback, tmp_path: Path) -> None:
    mine = claimed(running)
    Run.objects.filter(pk=mine.run).update(measured={"total": 3.5}, ended_at=timezone.now())
    heart = Heartbeat(mine.run, mine.token)
    heart.prober_file = tmp_path / "probes"
    heart.prober_file.write_text(json.dumps({"at": 1.0, "ok": False, "answered": False}) + "\n")
    heart.measure()
    assert run_of(running).measured == {"total": 3.5}


def test_the_way_back_after_a_watch_is_measured_too(
    matrix: None, checkout: Path, service: str, oncall: User, tech_lead: User
) -> None:
    system = actions.add_system(by=None, text=f'{manifest_text(checkout)}\n[health]\nurl = "{service}"\n')[0]
    rollback = asked(system, oncall)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "monitoring", again(rollback).trouble
    first = again(rollback).log_entry.downtime_seconds
    assert first is not None
    assert first > 0, "from the first look to the switch it answered 500"
    assert (checkout / ".rollback").stat().st_mode & 0o777 == 0o700, "secrets are staged there"

    actions.abort(rollback.pk, by=oncall, note="It is worse")
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "reverted", again(rollback).trouble
    lines = [json.loads(line) for line in runner.prober_file(run_of(rollback)).read_text().splitlines()]
    assert [line["end"] for line in lines if "end" in line] == [True, True], "measured there, and back"
    after = again(rollback).log_entry.downtime_seconds
    assert after is not None
    assert after >= first


def test_one_that_is_undone_out_of_its_watch_keeps_the_time_that_it_took(
    watched: Rollback, oncall: User, time_machine: Any
) -> None:
    took = watched.log_entry.rollback_seconds
    later(time_machine, minutes=55)
    actions.abort(watched.pk, by=oncall, note="It is worse")
    runner.carry(watched.run.pk)
    entry = again(watched).log_entry
    assert (entry.outcome, entry.rollback_seconds) == ("reverted", took)


# --- planning and starting ------------------------------------------------------------------------------------------


def test_a_fault_of_ours_in_the_planning_is_said_once(rollback: Rollback, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*args: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setitem(PROCEDURES, "code", type(PROCEDURES["code"])("code", "Code rollback", (), plan))  # type: ignore[arg-type]
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "refused"
    assert again(rollback).trouble == "ZeroDivisionError: a fault of ours"
    assert runner.due() == []


def test_planning_is_refused_with_the_reason(system: System, incident: Incident, oncall: User) -> None:
    rollback = asked(system, oncall, target="v9", incident=incident)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "refused"
    assert "knows no commit, tag or branch 'v9'" in again(rollback).trouble
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert last.text.startswith(f"Rollback {rollback.pk} was refused: ")


def test_planning_waits_for_nobody(watched: Rollback, oncall: User, tech_lead: User) -> None:
    """There is one active rollback per system; what to do about the other depends on where it is."""
    second = asked(watched.system, oncall)
    runner.carry(second.run.pk)
    assert again(second).state == "refused"
    assert f"Rollback {watched.pk} of agents is monitoring: complete it early" in again(second).trouble
    actions.complete(watched.pk, by=oncall, note="Fine")
    by_hand(watched.system.manifest.root, "checkout", "-q", "main")
    third, fourth = asked(watched.system, oncall), asked(watched.system, oncall)
    runner.carry(third.run.pk)
    runner.carry(fourth.run.pk)
    assert (again(third).state, again(fourth).state) == ("awaiting_approval", "refused")
    assert "is awaiting approval: wait for it, or cancel it, then ask again." in again(fourth).trouble


def test_cancelled_while_it_is_planned(rollback: Rollback, oncall: User, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at = runner.look_at

    def with_a_cancel_meanwhile(subject: Rollback) -> Any:
        actions.cancel(subject.pk, by=oncall)
        return look_at(subject)

    monkeypatch.setattr(runner, "look_at", with_a_cancel_meanwhile)
    runner.carry(rollback.run.pk)
    assert (again(rollback).state, again(rollback).plans.count()) == ("cancelled", 0)


def test_a_target_that_is_gone_at_the_start_refuses(approved: Rollback, checkout: Path) -> None:
    by_hand(checkout, "tag", "--delete", "v1")
    runner.carry(approved.run.pk)
    assert again(approved).state == "refused"
    assert "v1" in again(approved).trouble
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"


def test_an_approval_that_is_too_old_starts_nothing(
    approved: Rollback, incident: Incident, checkout: Path, time_machine: Any
) -> None:
    """A hint that lay in the broker for hours is not older than the approval that it announces."""
    later(time_machine, minutes=61)
    runner.carry(approved.run.pk)
    assert again(approved).state == "expired"
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    last = incident.timeline.order_by("pk").last()
    assert last is not None
    assert "it was approved, but no worker started it in time" in last.text


def test_a_new_vote_in_time_is_not_ended_by_the_old_term(approved: Rollback, checkout: Path, time_machine: Any) -> None:
    """Its approval is void shortly before its time is over: the new plan has an hour of its own."""
    later(time_machine, minutes=59)
    (checkout / "app.py").write_text("VERSION = 2.1\n")
    runner.carry(approved.run.pk)
    assert again(approved).state == "awaiting_approval"
    later(time_machine, minutes=2)
    assert runner.expire() == []
    later(time_machine, minutes=60)
    assert runner.expire() == [approved]


# --- another portal on the host -------------------------------------------------------------------------------------


def test_a_backup_under_another_portal_fails_and_says_so(system: System, other_portal: Path, oncall: User) -> None:
    point = actions.backup(system=system, by=oncall)
    runner.carry(point.run.pk)
    after = RestorePoint.objects.get(pk=point.pk)
    assert after.state == "failed"
    assert "Another worker holds this system" in after.problem
    assert [step.state for step in after.run.steps.all()][:2] == ["failed", "waiting"]
    assert runner.due() == []


# --- the watch ------------------------------------------------------------------------------------------------------


def seen(system: System, health: probe.Health) -> None:
    """The watcher's look, with the row as it is now."""
    runner.look(System.objects.get(pk=system.pk), health)


def test_the_release_that_was_left_does_not_count_against_the_new_one(
    watched: Rollback, system: System, time_machine: Any
) -> None:
    """A look from just before the switch may be entered just after it, and that system had been sick for an hour."""
    System.objects.filter(pk=system.pk).update(health="unhealthy", health_since=timezone.now() - timedelta(hours=1))
    seen(system, SICK)
    assert again(watched).state == "monitoring"
    later(time_machine, seconds=2)
    seen(system, WELL)
    later(time_machine, seconds=60)
    seen(system, SICK)
    assert again(watched).state == "monitoring", "one look is no loss"


def test_an_answer_from_before_the_watch_does_not_count_however_late_it_is_entered(
    watched: Rollback, system: System, time_machine: Any
) -> None:
    asked = timezone.now() - timedelta(minutes=1)
    System.objects.filter(pk=system.pk).update(health="unhealthy", health_since=timezone.now() - timedelta(hours=1))
    later(time_machine, seconds=60)
    runner.look(System.objects.get(pk=system.pk), SICK, asked)
    assert again(watched).state == "monitoring"
    seen(system, SICK)
    assert again(watched).state == "monitoring", "the first look of its own"
    later(time_machine, seconds=10)
    seen(system, SICK)
    assert again(watched).state == "reverting"


def test_an_older_answer_does_not_take_the_place_of_a_newer_one(system: System) -> None:
    seen(system, WELL)
    assert not runner.look(System.objects.get(pk=system.pk), SICK, timezone.now() - timedelta(seconds=5))
    assert System.objects.get(pk=system.pk).health == "healthy"
    assert HealthChange.objects.count() == 1


@pytest.mark.parametrize("harm", ["manifest", "packages"])
def test_a_system_that_cannot_be_read_leaves_no_other_unwatched(
    system: System, checkout: Path, service: str, harm: str
) -> None:
    text = manifest_text(checkout).replace('"agents"', '"zebra"')
    actions.add_system(by=None, text=f'{text}\n[health]\nurl = "{service}"\n')
    if harm == "manifest":
        System.objects.filter(pk=system.pk).update(manifest_text="[system")
    else:
        torn = checkout / ".venv/lib/python3.11/site-packages/torn-1.dist-info"
        torn.mkdir(parents=True)
        (torn / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1\n")
        (torn / "direct_url.json").write_text('{"dir_info": ')
    tasks.look(system.host)
    assert System.objects.get(name="zebra").health == "unhealthy"
    assert System.objects.get(name="agents").facts["problem"]


def test_health_that_is_lost_during_the_watch_brings_everything_back(
    watched: Rollback, system: System, incident: Incident, checkout: Path, settings: Any, time_machine: Any
) -> None:
    seen(system, WELL)
    for _ in range(runner.HEALTH_LOST_AFTER + 1):
        assert again(watched).state == "monitoring"
        later(time_machine, seconds=settings.HEALTH_SECONDS)
        seen(system, SICK)
    after = again(watched)
    assert (after.state, after.trouble) == ("reverting", "Health was lost during the watch: 500: broken")
    assert Incident.objects.get(pk=incident.pk).state == "mitigating"
    runner.carry(watched.run.pk)
    assert again(watched).state == "reverted"
    assert (checkout / "app.py").read_text() == "VERSION = 2\nBROKEN = True\n"
    assert [change.health for change in HealthChange.objects.order_by("pk")] == ["healthy", "unhealthy"]


def test_the_watch_ends_by_itself_when_health_held(
    watched: Rollback, system: System, incident: Incident, time_machine: Any
) -> None:
    seen(system, WELL)
    later(time_machine, minutes=59)
    seen(system, WELL)
    assert again(watched).state == "monitoring"
    later(time_machine, minutes=2)
    seen(system, WELL)
    assert (again(watched).state, moves(watched)[-1]) == ("completed", "complete")
    assert Incident.objects.get(pk=incident.pk).state == "monitoring"


def test_the_watch_does_not_end_while_it_is_sick(watched: Rollback, system: System, time_machine: Any) -> None:
    seen(system, WELL)
    later(time_machine, minutes=61)
    seen(system, SICK)
    assert again(watched).state == "monitoring"


def test_a_system_without_a_health_url_completes_when_its_time_is_over(
    watched: Rollback, system: System, time_machine: Any
) -> None:
    later(time_machine, minutes=61)
    tasks.look(system.host)
    assert again(watched).state == "completed"
