"""The machine's moves: what a worker does with a run (DESIGN 5).

The run's row is the truth. A worker claims it with a lease and a fencing token, and each thing that it writes is
written only while the token is still its own. A message to a worker is a hint, "look now": carry() may be called at
any time, by anybody, twice or never; the sweeper calls it again for what has no living lease.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from incidents import action_items
from incidents import actions as incidents
from incidents.models import Review
from portal.ledger.models import record, rows_of, take_turn
from portal.ledger.moves import advance, born
from portal.ledger.roles import holds, titles
from rollbacks import keeping, notices
from rollbacks.heartbeat import Heartbeat, masked
from rollbacks.models import (
    ACTIVE,
    Approval,
    Health,
    HealthChange,
    HealthSample,
    Plan,
    RestorePoint,
    RestorePointState,
    Rollback,
    RollbackLogEntry,
    RollbackState,
    Run,
    Step,
    StepState,
    System,
)
from rollbacks.procedures import base, planning
from rollbacks.procedures.inspection import inspect
from rollbacks.procedures.known import PROCEDURES
from rollbacks.tools import ToolError, command, fence, guard, probe, prober

log = logging.getLogger(__name__)

WORKER_STATES = [RollbackState.PLANNING, RollbackState.APPROVED, RollbackState.RUNNING, RollbackState.REVERTING]
# Without a join, so that each half is found by its own index: the sweeper asks this every five seconds.
WORKED_ON = Rollback.objects.filter(state__in=WORKER_STATES).order_by().values("pk")
WANTED = Q(rollback__in=WORKED_ON) | Q(restore_point__isnull=False, ended_at=None)
HALF_WAY = [RollbackState.RUNNING, RollbackState.REVERTING]  # it goes first: a backup between would keep half a switch
HEALTH_LOST_AFTER = 3  # looks in a row without a healthy answer, during the watch
MOST_TAKEOVERS = 5  # of one step: what has ended so many workers would end the next one too
DEFAULT_OUTAGE = 1.0  # seconds: what a plan expects on a system that was never rolled back


class Lost(Exception):
    """The lease is somebody else's now: stop, and write nothing."""


@dataclass(frozen=True)
class Claim:
    run: int
    token: int
    holder: str


# --- who may work ---------------------------------------------------------------------------------------------------


def due() -> list[Run]:
    """Runs that want a worker and have no living lease."""
    runs = Run.objects.filter(WANTED).select_related("system").order_by("pk")
    return [run for run in runs if not is_held(run)]


def is_held(run: Run) -> bool:
    """Does a living worker hold it? A holder that is known to be dead does not keep its lease."""
    return run.is_held_now and not probe.is_dead(run.holder)


def claim(pk: int) -> Claim | None:
    """Take a run: the lease, and the next fencing token of its system. None when another holds it or its system, when
    it wants no worker (any more): who carried it out stays written there, or when the system is not on this host."""
    with transaction.atomic():
        system = System.objects.locked(Run.objects.values_list("system_id", flat=True).get(pk=pk))
        if system.host != settings.HOST or not Run.objects.filter(WANTED, pk=pk).exists():
            return None
        if system.runs.filter(rollback__state__in=HALF_WAY).exclude(pk=pk).exists():
            return None
        if any(is_held(each) for each in system.runs.filter(lease_until__gt=timezone.now())):
            return None
        system.fence += 1
        system.save(update_fields=["fence"])
        run = Run.objects.select_for_update().get(pk=pk)
        run.token, run.holder, run.claims = system.fence, probe.identity(), run.claims + 1
        run.worker = f"{socket.gethostname()} pid {os.getpid()}"
        run.lease_until = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
        run.save()
    return Claim(pk, run.token, run.holder)


@contextmanager
def held(mine: Claim) -> Iterator[Run]:
    """A transaction on the run's row. Raises Lost when the token is no longer ours; then nothing is written."""
    with transaction.atomic():
        take_turn()
        runs = Run.objects.select_for_update(of=("self",)).select_related("rollback").order_by()
        row = runs.filter(pk=mine.run, token=mine.token).first()
        if row is None:
            raise Lost
        yield row


def release(mine: Claim) -> None:
    Run.objects.filter(pk=mine.run, token=mine.token).update(lease_until=None)


def carry(pk: int) -> None:
    """Take a run as far as it goes now. Does nothing when somebody else is at it, or nothing is to be done."""
    while (mine := claim(pk)) is not None:  # again, for what was asked while we were about to let go
        try:
            with Heartbeat(mine.run, mine.token) as heart:
                work(mine, heart)
        except Lost:
            log.warning("run %s was taken over: this worker lets go", pk)
            return
        finally:
            release(mine)  # after the last beat, which would renew the lease
        refresh(Run.objects.select_related("system").get(pk=pk).system)


def work(mine: Claim, heart: Heartbeat) -> None:
    try:
        while turn(mine, heart):
            pass
    except fence.Superseded as error:
        superseded(mine, str(error))


def turn(mine: Claim, heart: Heartbeat) -> bool:
    """One move. True when there may be another one."""
    if heart.lost.is_set():
        raise Lost
    run = Run.objects.select_related("rollback", "restore_point", "system").get(pk=mine.run)
    if run.rollback is None:
        return backup_turn(mine, run, heart)
    match run.rollback.state:
        case RollbackState.PLANNING:
            return make_plan(mine, run)
        case RollbackState.APPROVED:
            return start(mine, run)
        case RollbackState.RUNNING:
            return next_step(mine, run, heart) or finish(mine, run)
        case RollbackState.REVERTING:
            return next_undo(mine, run, heart) or restored(mine, run)
        case _:
            return False


# --- planning and starting ------------------------------------------------------------------------------------------


def request_of(rollback: Rollback) -> base.Request:
    point = rollback.target_point
    known = base.Point(point.tag, point.commit, point.manifest_sha256) if point else None
    return base.Request(
        rollback.target,
        known,
        rollback.with_configuration,
        rollback.component,
        rollback.set_logs_aside,
        rollback.reset_metrics,
        elsewhere=bool(rollback.into),
    )


def look_at(rollback: Rollback) -> tuple[base.Plan | None, str]:
    """The plan as of now, or why there is none. Takes no lock: it reads the host."""
    try:
        return PROCEDURES[rollback.procedure].plan(rollback.run.manifest, request_of(rollback)), ""
    except planning.BrokenPoint as error:
        if rollback.target_point_id and not rollback.into:
            keeping.enter(rollback.target_point_id, error.wrong)
        return None, masked(rollback.run, str(error))
    except ToolError as error:
        return None, masked(rollback.run, str(error))
    except Exception as error:  # a fault of ours: it is said once, and not tried again for ever
        log.exception("planning %s", rollback)
        return None, masked(rollback.run, base.in_words(error))


def make_plan(mine: Claim, run: Run) -> bool:
    rollback = run.rollback
    assert rollback is not None
    plan, trouble = look_at(rollback)
    try:
        with held(mine):
            rollback = Rollback.objects.locked(rollback.pk)
            if rollback.state != RollbackState.PLANNING:
                return True
            other = rollback.system.rollbacks.filter(state__in=ACTIVE).first()
            if other is not None:
                trouble = f"{other} of {rollback.system} is {other.get_state_display().lower()}: {until_over(other)}"
            if plan is None or trouble:
                refuse(rollback, trouble)
                return False
            keep_plan(rollback, plan, [])
            advance(rollback, "plan", by=None, digest=plan.digest)
            tell(rollback, f"{rollback} is planned and waits for approval: {rollback.rule.approval}.")
            approve_at_once(rollback)
    except IntegrityError:  # another rollback of the system became active between the look and the move
        with held(mine):
            rollback = Rollback.objects.locked(rollback.pk)
            if rollback.state == RollbackState.PLANNING:
                refuse(rollback, "Another rollback of this system became active: see its page.")
    return True


def until_over(other: Rollback) -> str:
    if other.state == RollbackState.MONITORING:
        return "complete it early with a note, or abort it, then ask again."
    return "wait for it, or cancel it, then ask again."


def refuse(rollback: Rollback, trouble: str) -> None:
    rollback.trouble = trouble
    advance(rollback, "refuse", by=None, note=trouble)
    tell(rollback, f"{rollback} was refused: {trouble}")


def keep_plan(rollback: Rollback, plan: base.Plan, moved: list[str]) -> Plan:
    body = plan.as_json()
    body["shown"]["outage_seconds"] = expected_outage(rollback)
    number = rollback.plans.count() + 1
    return Plan.objects.create(rollback=rollback, number=number, digest=plan.digest, body=body, moved=moved)


def expected_outage(rollback: Rollback) -> float:
    """Seconds: the median of the last five that succeeded on this system with this procedure, else a guess of one."""
    entries = RollbackLogEntry.objects.filter(
        rollback__system=rollback.system,
        rollback__procedure=rollback.procedure,
        outcome=RollbackLogEntry.Outcome.SUCCEEDED,  # one that was aborted before its switch had no outage
        outage_seconds__isnull=False,
    )
    seen = [seconds or 0.0 for seconds in entries.values_list("outage_seconds", flat=True)[:5]]
    return round(median(seen), 2) if seen else DEFAULT_OUTAGE


def approve_at_once(rollback: Rollback) -> None:
    """The Immediate rule: the requester's word is the approval, when the requester may give it (DESIGN 3)."""
    requester = rollback.requested_by
    if not rollback.is_immediate or not holds(requester, rollback.rule.role):
        return
    plan = rollback.plan_now
    assert plan is not None
    vote = Approval.Vote.APPROVE
    Approval.objects.create(plan=plan, voter=requester, vote=vote, roles=titles(requester), reason="Immediate rule")
    advance(rollback, "approve", by=requester, note="Immediate rule: approved with the request")
    tell(rollback, f"{rollback} was approved with its request: Immediate rule.")
    open_review(rollback, Review.Kind.IMMEDIATE)


def open_review(rollback: Rollback, kind: str) -> None:
    incidents.open_review(
        incident=rollback.incident,
        kind=kind,
        subject=f"{rollback} of {rollback.system}",
        url=rollback.get_absolute_url(),
        reason=rollback.reason,
        by=rollback.requested_by,
    )


def start(mine: Claim, run: Run) -> bool:
    """Plan again; what was approved has to be what would happen. Otherwise the approval is void."""
    rollback = run.rollback
    assert rollback is not None
    plan, trouble = look_at(rollback)
    with held(mine) as row:
        rollback = Rollback.objects.locked(rollback.pk)
        if rollback.state != RollbackState.APPROVED:
            return True
        if lapse(rollback):  # no sweep has noticed it yet
            return False
        approved = rollback.plan_now
        assert approved is not None
        if plan is None:
            refuse(rollback, trouble)
            return False
        if plan.digest != approved.digest:
            moved = what_moved(approved.body["essence"], plan.essence)
            keep_plan(rollback, plan, moved)
            advance(rollback, "void", by=None, note="; ".join(moved), digest=plan.digest)
            tell(rollback, f"The approval of {rollback} is void, because the system has changed: {'; '.join(moved)}.")
            return False
        lay_out_steps(row, rollback.procedure, run.system.manifest_text)
        advance(rollback, "start", by=None, digest=plan.digest, worker=row.worker)
        tell(rollback, f"{rollback} of {rollback.system} has started.", "mitigate")
    return True


def lay_out_steps(run: Run, procedure: str, manifest_text: str) -> None:
    run.started_at, run.manifest_text = timezone.now(), manifest_text
    run.save(update_fields=["started_at", "manifest_text"])
    Step.objects.bulk_create(
        Step(run=run, number=number, name=step.name, title=step.title, outage=step.outage)
        for number, step in enumerate(PROCEDURES[procedure].steps, 1)
    )


def what_moved(before: base.Facts, now: base.Facts) -> list[str]:
    """What differs between two plans, in words."""
    words = {
        "commit": "the deployed commit",
        "branch": "the branch",
        "tree": "uncommitted files",
        "packages": "the installed packages",
        "environment": "the virtual environment",
        "manifest": "the system's manifest",
    }
    found, new = before["found"], now["found"]
    moved = [said for key, said in words.items() if found.get(key) != new.get(key)]
    old_config, new_config = found.get("configuration", {}), new.get("configuration", {})
    moved += [f"{name}" for name in new_config if old_config.get(name) != new_config[name]]
    if not moved and before["goal"] != now["goal"]:
        moved.append("what the target holds")
    return [f"{each} changed" if each != "uncommitted files" else "the work tree changed" for each in moved]


# --- steps ----------------------------------------------------------------------------------------------------------


def safety_tag(run: Run) -> str:
    """Names all that a run leaves on the host: its number may have been another portal's before."""
    began = (run.rollback.started_at if run.rollback else run.made_at) or timezone.now()
    return f"failed-{began:%Y%m%d-%H%M%S}"


def prober_file(run: Run) -> Path:
    return run.manifest.state_dir / "probes" / f"{safety_tag(run)}.jsonl"


def context_for(mine: Claim, run: Run, heart: Heartbeat, steps: Iterable[Step]) -> base.Context:
    rollback, point = run.rollback, run.restore_point
    if rollback is not None:
        plan = rollback.plan_now
        assert plan is not None
        essence = plan.body["essence"]
    else:
        assert point is not None
        message, previous = point.reason or "Pre-deployment backup", previous_point(run)
        essence = {"goal": {"tag": point.tag, "message": message, "previous": previous}}
    return base.Context(
        manifest=run.manifest,
        run=run.pk,
        token=mine.token,
        holder=mine.holder,
        essence=essence,
        safety_tag=safety_tag(run),
        say=heart.say,
        stopped=heart.stopped,
        facts={step.name: step.facts for step in steps if step.facts or step.state == StepState.DONE},
    )


def previous_point(run: Run) -> str:
    """The newest restore point that a backup may share its artifacts with: one that is known to be sound."""
    kept = run.system.restore_points.filter(kind=RestorePoint.Kind.BACKUP, state=RestorePointState.VERIFIED)
    return kept.values_list("tag", flat=True).first() or ""


def procedure_of(run: Run) -> base.Procedure:
    if run.rollback:
        return PROCEDURES[run.rollback.procedure]
    is_adopted = run.restore_point is not None and run.restore_point.kind == RestorePoint.Kind.HAND_MADE
    return PROCEDURES["adopt" if is_adopted else "backup"]


def subject_of(run: Run) -> Rollback | RestorePoint:
    subject = run.rollback or run.restore_point
    assert subject is not None
    return subject


def next_step(mine: Claim, run: Run, heart: Heartbeat) -> bool:
    """Carry out the first step that is not done. False when all are."""
    with held(mine) as row:
        if row.rollback is not None and row.rollback.state != RollbackState.RUNNING:
            return True  # aborted since we looked
        steps = list(row.steps.all())
        step = next((each for each in steps if each.state != StepState.DONE), None)
        if step is None:
            return False
        taken_over = step.state == StepState.RUNNING
        step.state, step.token, step.trouble = StepState.RUNNING, mine.token, ""
        step.started_at, step.ended_at = (step.started_at if taken_over else None) or timezone.now(), None
        step.save(update_fields=["state", "token", "trouble", "started_at", "ended_at"])
        if taken_over:
            record(subject_of(run), f"step {step.name} taken over", by=None, token=mine.token, worker=row.worker)
    if taken_over and (trouble := endless(run, f"step {step.name} taken over")):
        return step_ended(mine, run, step, trouble)
    words = f"taken over by {row.worker} (token {mine.token})" if taken_over else ""
    trouble = attempt(mine, run, step, heart, words, steps)
    if trouble and heart.lost.is_set():
        raise Lost  # it was we who stopped it, and another worker begins it again
    return step_ended(mine, run, step, trouble)


def endless(run: Run, taken_over: str) -> str:
    """ "" or why a step, or its undo, is not tried again: each worker that took it died in it (of its memory, for one).
    The ledger has counted them; a person who resumes the rollback begins anew."""
    rows = rows_of(subject_of(run))
    begun = rows.filter(move__in=["start", "resume", "revert"]).values_list("number", flat=True).first() or 0
    times = rows.filter(move=taken_over, number__gt=begun).count()
    if times <= MOST_TAKEOVERS:
        return ""
    return (
        f"{times} workers died one after the other while they were at it, so it is not tried again. Look for the "
        "reason on the host (`journalctl -k` tells of a process that took too much memory), then ask again."
    )


def attempt(mine: Claim, run: Run, step: Step, heart: Heartbeat, taken_over: str, steps: Iterable[Step]) -> str:
    """Bring a step to its end. "" or why that failed; what fails here is undone, and never left to the next worker."""
    try:
        context = context_for(mine, run, heart, steps)
        heart.attend(step.pk, context.manifest)
        if run.rollback is not None:
            # Until the switch the service is left alone: meanwhile the prober may come up.
            heart.measure_with(context.manifest, prober_file(run), at_once=step.outage or bool(taken_over))
        if taken_over:
            heart.say(f"— {taken_over} —\n")
        step.facts = reach(procedure_of(run).step(step.name), context, bool(taken_over))
    except (fence.Superseded, DatabaseFault):
        raise
    except ToolError as error:
        return masked(run, base.in_words(error))
    except Exception as error:  # a fault of ours or of the host: the way back is the same
        log.exception("step %s of run %s", step.name, run.pk)
        return masked(run, base.in_words(error))
    finally:
        heart.flush()
    return ""


def reach(definition: base.Step, context: base.Context, taken_over: bool) -> base.Facts:
    """Apply and verify, under the fence. What a dead worker left running is ended first, then the goal is probed."""
    with fenced(context):
        facts = None
        if taken_over:
            command.reap(context.groups)
            facts = definition.probe(context)
        context.facts[definition.name] = facts if facts is not None else definition.apply(context)
        definition.verify(context)
    return context.facts[definition.name]


@contextmanager
def fenced(context: base.Context) -> Iterator[None]:
    """Our token is on the host; from the moment on that a higher one is written there, our tools do nothing more.
    (A worker that stood still for longer than its lease wakes up in the middle of a step.)"""
    fence.hold(context.state_dir, context.token, context.holder)
    with guard.asking(partial(fence.check, context.state_dir, context.token)):
        yield


def step_ended(mine: Claim, run: Run, step: Step, trouble: str) -> bool:
    with held(mine):
        step.state = StepState.FAILED if trouble else StepState.DONE
        step.trouble, step.ended_at = trouble, timezone.now()
        step.save(update_fields=["state", "trouble", "ended_at", "facts"])
        subject = subject_of(run)
        seconds = round(step.seconds or 0, 3)
        record(subject, f"step {step.name} {step.state}", by=None, note=trouble, seconds=seconds, token=mine.token)
        if "restore_point" in step.facts and not trouble:
            keep_point(run, step.facts["restore_point"])
        if trouble and run.rollback is not None:
            fail(run.rollback.pk, f"{step.title}: {trouble}")
    return not (trouble and run.rollback is None)


def keep_point(run: Run, sealed: base.Facts) -> None:
    """Enter what a step sealed into the catalogue: the backup's own point, or a rollback's safety point."""
    point = run.restore_point
    if point is None:
        point, made = RestorePoint.objects.get_or_create(
            system=run.system,
            tag=sealed["tag"],
            defaults={
                "kind": RestorePoint.Kind.SAFETY,
                "reason": f"State as found by {run.rollback}",
                "found_by": run.rollback,
            },
        )
        if made:
            born(point, "create", by=None)
    point = RestorePoint.objects.locked(point.pk)
    if point.state != RestorePointState.CREATING:
        return
    point.commit, point.manifest_sha256 = sealed["commit"], sealed["manifest_sha256"]
    point.size, point.parts = sealed["size"], sealed["parts"]
    point.lacks = sealed.get("lacks", [])
    advance(point, "seal", by=None, commit=point.commit, manifest=point.manifest_sha256)


def fail(pk: int, trouble: str) -> None:
    """running or monitoring → reverting; quietly nothing when a person's abort was faster."""
    rollback = Rollback.objects.locked(pk)
    if rollback.state in (RollbackState.RUNNING, RollbackState.MONITORING):
        rollback.trouble = trouble
        advance(rollback, "fail", by=None, note=trouble)
        tell(rollback, f"{rollback} failed and is being undone. {trouble}", "reopen")


def superseded(mine: Claim, trouble: str) -> None:
    """The host knows a higher token, and our own row does not: another portal drives this host. A person decides."""
    measured = measured_so_far(Run.objects.select_related("rollback", "system").get(pk=mine.run))
    with held(mine) as run:
        if run.rollback_id is not None:
            keep_measured(run, measured)
            hold(Rollback.objects.locked(run.rollback_id), trouble, [])
        else:
            interrupt(run, trouble)
    if run.rollback_id is None:
        backup_ended(mine, trouble)


def hold(rollback: Rollback, trouble: str, by_hand: list[str]) -> None:
    """running or reverting → held, with what to type. The interrupted step keeps its trouble."""
    interrupt(rollback.run, trouble)
    rollback.trouble, rollback.by_hand = trouble, by_hand
    advance(rollback, "hold", by=None, note=trouble)
    tell(rollback, f"{rollback} is held and needs a person. {trouble}")


def interrupt(run: Run, trouble: str) -> None:
    """No step is at work any more."""
    at_work = run.steps.filter(state__in=[StepState.RUNNING, StepState.UNDOING])
    at_work.update(state=StepState.FAILED, trouble=trouble, ended_at=timezone.now())


# --- undoing --------------------------------------------------------------------------------------------------------


def next_undo(mine: Claim, run: Run, heart: Heartbeat) -> bool:
    """Undo the last step that was begun. False when there is none left."""
    with held(mine) as row:
        begun = row.steps.exclude(state__in=[StepState.WAITING, StepState.UNDONE])
        step = begun.order_by("-number").first()
        if step is None:
            return False
        half_undone = step.state == StepState.UNDOING
        taken_over = half_undone or step.state == StepState.RUNNING
        again = f"step {step.name} undo taken over"
        if half_undone:
            record(subject_of(run), again, by=None, token=mine.token, worker=row.worker)
        step.state, step.token = StepState.UNDOING, mine.token
        step.save()
        row.ended_at = None  # after its watch had begun: there is work again
        row.save(update_fields=["ended_at"])
    given_up = endless(run, again) if half_undone else ""
    trouble, by_hand = attempt_undo(mine, run, step, heart, taken_over, given_up)
    if trouble and heart.lost.is_set():
        raise Lost
    measured = measured_so_far(run) if trouble else {}
    with held(mine) as row:
        rollback = Rollback.objects.locked(run.rollback_id)
        if trouble:
            keep_measured(row, measured)
            hold(rollback, f"Undoing “{step.title}” failed: {trouble}", by_hand)
            return False
        step.state, step.ended_at = StepState.UNDONE, timezone.now()
        step.save()
        record(rollback, f"step {step.name} undone", by=None, token=mine.token)
    return True


def attempt_undo(
    mine: Claim, run: Run, step: Step, heart: Heartbeat, taken_over: bool, given_up: str
) -> tuple[str, list[str]]:
    """Bring an undo to its end. "" or why that failed (or was `given_up`), and then what to type by hand."""
    try:
        context = context_for(mine, run, heart, run.steps.all())
        heart.attend(step.pk, context.manifest, undoing=True)
        heart.measure_with(context.manifest, prober_file(run), at_once=True)
        definition = procedure_of(run).step(step.name)
        trouble = given_up or masked(run, undo(definition, context, taken_over))
        return trouble, definition.by_hand(context) if trouble else []
    except DatabaseFault:
        raise
    except Exception as error:  # whatever it is: a person has to know, nothing may be retried blindly
        log.exception("undo of %s in run %s", step.name, run.pk)
        return masked(run, base.in_words(error)), []
    finally:
        heart.flush()


def undo(definition: base.Step, context: base.Context, taken_over: bool) -> str:
    """ "" or why it could not be undone."""
    try:
        with fenced(context):
            if taken_over:
                command.reap(context.groups)
            definition.undo(context)
    except ToolError as error:
        return base.in_words(error)
    except Exception as error:  # whatever it is: a person has to know, nothing may be retried blindly
        log.exception("undo of %s in run %s", definition.name, context.run)
        return base.in_words(error)
    return ""


def restored(mine: Claim, run: Run) -> bool:
    measured = stop_measuring(run)
    with held(mine) as row:
        rollback = Rollback.objects.locked(run.rollback_id)
        if rollback.state != RollbackState.REVERTING:
            return True
        row.measured, row.ended_at = measured, timezone.now()
        row.save(update_fields=["measured", "ended_at"])
        write_log(rollback, row, RollbackLogEntry.Outcome.REVERTED)
        forgive(rollback)
        advance(rollback, "restore", by=None)
        tell(rollback, f"{rollback} was undone: {rollback.system} is as it was found.")
        follow_up(rollback)
    return False


# --- the end, and the watch -----------------------------------------------------------------------------------------


def finish(mine: Claim, run: Run) -> bool:
    """All steps are verified: write the log entry, and watch."""
    measured = stop_measuring(run)
    with held(mine) as row:
        rollback = Rollback.objects.locked(run.rollback_id)
        if rollback.state != RollbackState.RUNNING:
            return True
        row.measured, row.ended_at = measured, timezone.now()
        row.save(update_fields=["measured", "ended_at"])
        entry = write_log(rollback, row, RollbackLogEntry.Outcome.SUCCEEDED)
        mark_left_behind(rollback)
        minutes = 0 if rollback.into else run.system.manifest.watch_minutes
        rollback.watch_until = timezone.now() + timedelta(minutes=minutes)
        advance(rollback, "watch", by=None, downtime=entry.downtime_seconds, outage=entry.outage_seconds)
        tell(
            rollback,
            f"{rollback}: {run.system} is back and verified. Its health is watched for {minutes:g} min.",
            "monitor",
        )
    return False


def stop_measuring(run: Run) -> dict[str, float]:
    """Seconds {"total", "down", "outage"}; without a health URL only the total is known."""
    assert run.started_at is not None
    total = (timezone.now() - run.started_at).total_seconds()
    path = prober_file(run)
    if not path.exists():
        return {"total": round(total, 3)}
    prober.stop(path)
    seen = prober.read(path)
    return {"total": round(total, 3), "down": round(seen.down_seconds, 3), "outage": round(seen.outage_seconds, 3)}


def measured_so_far(run: Run) -> dict[str, float]:
    """Of a run that is put on hold: a person may settle it, and then nobody measures any more."""
    if run.started_at is None or not prober_file(run).exists():
        return {}
    seen = prober.read(prober_file(run))
    return {"down": round(seen.down_seconds, 3), "outage": round(seen.outage_seconds, 3)}


def keep_measured(run: Run, measured: dict[str, float]) -> None:
    if measured:
        run.measured = measured
        run.save(update_fields=["measured"])


def write_log(rollback: Rollback, run: Run, outcome: str) -> RollbackLogEntry:
    """One that is undone out of its watch keeps the time that it took: the watch is not a part of it."""
    before = RollbackLogEntry.objects.filter(rollback=rollback).first()
    return RollbackLogEntry.write(
        rollback,
        outcome=outcome,
        rollback_seconds=before.rollback_seconds if before else run.measured["total"],
        downtime_seconds=run.measured.get("down"),
        outage_seconds=run.measured.get("outage"),
    )


def mark_left_behind(rollback: Rollback) -> None:
    """The state that was left is never offered as a target, and whoever asks for its release is warned. What a person
    has said of it stays."""
    for pk in rollback.found.filter(bad=False).values_list("pk", flat=True):
        point = RestorePoint.objects.locked(pk)
        point.bad, point.bad_at, point.bad_by = True, timezone.now(), None
        point.bad_reason = f"left behind by {rollback}, {rollback.reason}"[:200]
        point.save()
        record(point, "mark bad", by=None, note=point.bad_reason)


def forgive(rollback: Rollback) -> None:
    """The state that was found is live again: what the portal had marked is no longer bad; a person's mark stays."""
    for pk in rollback.found.filter(bad=True, bad_by=None).values_list("pk", flat=True):
        point = RestorePoint.objects.locked(pk)
        point.bad, point.bad_reason, point.bad_at = False, "", None
        point.save()
        record(point, "mark good", by=None, note=f"{rollback} was undone")


def tell(rollback: Rollback, text: str, move: str = "") -> None:
    """The incident moves with its rollback, its timeline tells the story, and those hear of it whom it concerns."""
    if rollback.incident_id:
        incidents.carry(rollback.incident_id, move, note=text, url=rollback.get_absolute_url())
    notices.about(rollback, text)


def follow_up(rollback: Rollback) -> None:
    """It has ended: the guide's Post-Rollback Actions appear, each with an owner and a due time."""
    action_items.follow_up(
        subject=f"{rollback} of {rollback.system}",
        url=rollback.get_absolute_url(),
        incident=rollback.incident,
        requester=rollback.requested_by,
    )


def expire() -> list[Rollback]:
    """Ends what nobody decided, and what no worker started, in its time."""
    late = Rollback.objects.filter(
        state__in=[RollbackState.AWAITING_APPROVAL, RollbackState.APPROVED], expires_at__lte=timezone.now()
    )
    ended = []
    for pk in late.values_list("pk", flat=True):
        with transaction.atomic():
            rollback = Rollback.objects.locked(pk)
            if lapse(rollback):
                ended.append(rollback)
    return ended


def lapse(rollback: Rollback) -> bool:
    """awaiting_approval, approved → expired when its time is over; False when it is not (any more)."""
    words = {
        RollbackState.AWAITING_APPROVAL: "nobody approved it in time",
        RollbackState.APPROVED: "it was approved, but no worker started it in time",
    }
    why = words.get(rollback.state)
    if why is None or rollback.expires_at is None or rollback.expires_at > timezone.now():
        return False
    advance(rollback, "expire", by=None, note=f"after {rollback.rule.expires_minutes} min")
    tell(rollback, f"{rollback} has expired: {why}. Ask again if it is still needed.")
    return True


def look(system: System, seen: probe.Health | None, asked: datetime | None = None) -> bool:
    """Enter one look at a system's health; move what is under watch. True when its health has turned.

    `asked`: when the system was asked, which an answer that waited for its turn to be entered does not make later.
    """
    asked = asked or timezone.now()
    health = Health.UNKNOWN if seen is None else Health.HEALTHY if seen.ok else Health.UNHEALTHY
    detail = "the manifest names no health URL"
    if seen is not None:
        detail = (seen.detail if seen.ok else masked(system, seen.detail))[:300]
    changed, before = health != system.health, system.health_checked_at
    newer = System.objects.filter(Q(health_checked_at=None) | Q(health_checked_at__lte=asked), pk=system.pk)
    since = {"health_since": asked} if changed else {}
    if not newer.update(health=health, health_detail=detail, health_checked_at=asked, **since):
        return False  # an older answer than what is known
    if changed:
        HealthChange.objects.create(system=system, at=asked, health=health, detail=detail)
        system.health_since = asked
    for rollback in system.rollbacks.filter(state=RollbackState.MONITORING):
        watch(rollback, health, system.health_since, before, asked, seen and replace(seen, detail=detail))
    return changed


def watch(
    rollback: Rollback,
    health: str,
    since: datetime,
    before: datetime | None,
    asked: datetime,
    seen: probe.Health | None = None,
) -> None:
    """monitoring → completed when its time is over; → reverting when health is lost for some looks in a row.

    Looks from before the watch do not count: then it was the release that is left behind that was unhealthy. So the
    first look within it (the one `before` it was not) is the first that can begin a loss.
    """
    lost_after = timedelta(seconds=settings.HEALTH_SECONDS * HEALTH_LOST_AFTER)
    with transaction.atomic():
        rollback = Rollback.objects.locked(rollback.pk)
        if rollback.state != RollbackState.MONITORING:
            return
        began = Run.objects.values_list("ended_at", flat=True).get(rollback=rollback) or since
        if before is None or before < began:
            since = asked
        if seen is not None and asked >= began and not rollback.into:
            keep_sample(rollback, seen, asked, began)
        if health == Health.UNHEALTHY and asked - max(since, began) >= lost_after:
            fail(rollback.pk, f"Health was lost during the watch: {rollback.system.health_detail}")
        elif health != Health.UNHEALTHY and rollback.watch_until and asked >= rollback.watch_until:
            advance(rollback, "complete", by=None, note="the watch is over, and health held")
            tell(rollback, f"{rollback} is complete: {rollback.system} stayed healthy through the watch.")
            follow_up(rollback)


def keep_sample(rollback: Rollback, seen: probe.Health, asked: datetime, began: datetime) -> None:
    HealthSample.objects.create(
        rollback=rollback,
        at=asked,
        second=int((asked - began).total_seconds()),
        healthy=seen.ok,
        milliseconds=round(seen.ms, 1),
        detail=seen.detail,
    )


def refresh(system: System) -> None:
    """Look at the host: what is deployed, what could be gone back to; or why that cannot be told."""
    try:
        seen = inspect(system.manifest)
    except Exception as error:  # whatever it is: it is said on the system's page, and is no other system's trouble
        log.exception("looking at %s", system)
        seen = {"problem": base.in_words(error)}
    if "problem" in seen:
        seen["problem"] = masked(system, seen["problem"])
    System.objects.filter(pk=system.pk).update(facts=seen, facts_at=timezone.now())


# --- backups --------------------------------------------------------------------------------------------------------


def backup_turn(mine: Claim, run: Run, heart: Heartbeat) -> bool:
    if run.ended_at is not None:
        return False
    if run.started_at is None:
        if trouble := why_no_backup(run):
            return backup_ended(mine, trouble)
        with held(mine) as row:
            lay_out_steps(row, procedure_of(run).name, run.system.manifest_text)
        return True
    if run.steps.filter(state__in=[StepState.FAILED, StepState.UNDOING, StepState.UNDONE]).exists():
        return backup_undo(mine, run, heart)
    if next_step(mine, run, heart):
        return True
    if run.steps.exclude(state=StepState.DONE).exists():
        return True  # a step failed: undo what was made
    return backup_ended(mine, "")


def why_no_backup(run: Run) -> str:
    """ "" or why it cannot be made. Only reads: where the system is not, nothing is written either, no fence."""
    assert run.restore_point is not None
    try:
        procedure_of(run).plan(run.system.manifest, base.Request(run.restore_point.tag))
    except ToolError as error:
        return masked(run, base.in_words(error))
    return ""


def backup_undo(mine: Claim, run: Run, heart: Heartbeat) -> bool:
    """Take away what a failed backup made; its point is failed, and says why."""
    failed = run.steps.filter(state=StepState.FAILED).order_by("-number").first()
    trouble = f"{failed.title}: {failed.trouble}" if failed else ""
    context = context_for(mine, run, heart, run.steps.all())
    for step in run.steps.exclude(state=StepState.WAITING).order_by("-number"):
        if left := masked(run, undo(procedure_of(run).step(step.name), context, taken_over=True)):
            trouble += f" “{step.title}” could not be taken back: {left}"
    return backup_ended(mine, trouble)


def backup_ended(mine: Claim, trouble: str) -> bool:
    with held(mine) as row:
        row.ended_at = timezone.now()
        row.save(update_fields=["ended_at"])
        point = RestorePoint.objects.locked(row.restore_point_id)
        if not trouble:
            advance(point, "verify", by=None)
        elif point.state == RestorePointState.CREATING:
            point.problem = trouble
            advance(point, "fail", by=None, note=trouble)
        else:
            point.problem = trouble
            advance(point, "distrust", by=None, note=trouble)
    return False
