"""The people's moves. Pages, commands and the admin all call these, so that all of them behave alike: each checks who
asks, takes the row's lock, moves through advance(), and tells the worker once it is committed."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import urlencode

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.urls import reverse
from django.utils import timezone

from incidents import actions as incidents
from incidents import arriving, postmortems
from incidents.arrivals import Arrival
from incidents.models import OPEN, Alert, Incident, PostMortem, Review, Scope, Severity, Source
from portal.ledger.models import record, take_turn
from portal.ledger.moves import MoveRefused, NotAllowed, advance, ago, born, who_may, why_not
from portal.ledger.roles import Person, Role, Who, any_of, at_least, called, titles
from rollbacks import checklist, keeping
from rollbacks.models import (
    ACTIVE,
    READABLE,
    Approval,
    ChecklistTick,
    Decision,
    DecisionRule,
    ImportedLogEntry,
    MatrixVersion,
    Plan,
    RestorePoint,
    RestorePointState,
    Rollback,
    RollbackLogEntry,
    RollbackState,
    Run,
    StepState,
    System,
    decide,
)
from rollbacks.models.log_entry import UNKNOWN
from rollbacks.procedures import adopt
from rollbacks.procedures.known import ROLLBACKS
from rollbacks.runner import follow_up, tell
from rollbacks.tasks import hint, refresh_soon, tend_soon, verify_soon
from rollbacks.tools import ToolError, manifest

MAY_REQUEST = at_least(Role.ENGINEER)
MAY_MANAGE = any_of(Role.TECH_LEAD, Role.DEVOPS)
GOOD = [RestorePointState.AVAILABLE, RestorePointState.VERIFIED]
LONGEST_TARGET = Rollback._meta.get_field("target").max_length or 0  # characters


class Unknown(Exception):
    """A name that nothing has; the message offers near ones."""


def check(who: Who, by: Person, what: str) -> None:
    """Raises NotAllowed, in words."""
    if reason := who.why_not(None, by):
        raise NotAllowed(f"{called(by)} cannot {what}: {reason}.")


# --- systems --------------------------------------------------------------------------------------------------------


@transaction.atomic
def add_system(*, by: Person, text: str) -> tuple[System, bool]:
    """Create or update a system from its manifest; (system, whether it is new). Raises ManifestError."""
    if by is not None:
        check(MAY_MANAGE, by, "add or change a system")
    parsed = manifest.parse(text)
    system, created = System.objects.get_or_create(name=parsed.name, defaults={"manifest_text": text})
    system = System.objects.locked(system.pk)
    if created or system.manifest_text != text:
        system.manifest_text, system.host, system.environment = text, parsed.host, parsed.environment
        system.save()
        record(system, "add" if created else "change", by=by, manifest=manifest.shown(text))
        refresh_soon(system)
    return system, created


def find_system(name: str) -> System:
    """Raises Unknown, with near names."""
    try:
        return System.objects.get(name=name)
    except System.DoesNotExist:
        names = list(System.objects.values_list("name", flat=True))
        near = difflib.get_close_matches(name, names, 3, 0.4) or names[:5]
        hint_text = f" Did you mean {', '.join(near)}?" if near else " There is no system yet: add one with add_system."
        raise Unknown(f"There is no system {name!r}.{hint_text}") from None


# --- restore points -------------------------------------------------------------------------------------------------


@transaction.atomic
def backup(*, system: System, by: Person, reason: str = "") -> RestorePoint:
    """Ask for a pre-deployment backup; a worker makes it."""
    check(MAY_REQUEST, by, f"back up {system}")
    system = System.objects.locked(system.pk)
    if system.retired:
        raise MoveRefused(f"{system} is retired: it gets no new backups.", system)
    point = RestorePoint.objects.create(system=system, tag=free_tag(system), made_by=by, reason=reason[:200])
    born(point, "create", by=by, note=reason)
    hint(Run.objects.create(system=system, restore_point=point))
    return point


def free_tag(system: System) -> str:
    """backup-YYYYMMDD-HHMMSS in UTC; a second backup within the same second takes the next one."""
    at = timezone.now()
    while system.restore_points.filter(tag=(tag := f"backup-{at:%Y%m%d-%H%M%S}")).exists():
        at += timedelta(seconds=1)
    return tag


@transaction.atomic
def adopt_backup(*, system: System, tag: str, by: Person) -> RestorePoint:
    """Ask for a backup that was made by hand to be taken over; a worker makes a restore point of it. Raises MoveRefused
    for one that is not there, or was taken over."""
    check(MAY_REQUEST, by, f"take over a backup of {system}")
    system = System.objects.locked(system.pk)
    if system.retired:
        raise MoveRefused(f"{system} is retired: it gets no new restore points.", system)
    found = {each["tag"]: each for each in keeping.hand_made(system)}
    if tag not in found:
        known = ", ".join(found) or "none"
        raise MoveRefused(
            f"{tag[:60]!r} is no backup of {system} that was made by hand and could be taken over. There is: {known}.",
            system,
        )
    taken = set(system.restore_points.filter(tag__startswith=adopt.name_for(tag)).values_list("tag", flat=True))
    own = next(name for number in count(1) if (name := adopt.name_for(tag, number)) not in taken)
    reason = f"taken over from {tag}"
    point = RestorePoint.objects.create(
        system=system, tag=own, kind=RestorePoint.Kind.HAND_MADE, made_by=by, made_at=found[tag]["at"], reason=reason
    )
    born(point, "create", by=by, note=reason)
    hint(Run.objects.create(system=system, restore_point=point))
    return point


@transaction.atomic
def pin(pk: int, *, by: Person, pinned: bool) -> RestorePoint:
    check(MAY_REQUEST, by, "pin a restore point")
    point = RestorePoint.objects.locked(pk)
    point.pinned = pinned
    point.save()
    record(point, "pin" if pinned else "unpin", by=by)
    return point


@transaction.atomic
def verify(pk: int, *, by: Person) -> RestorePoint:
    """Have a restore point read back now; its host's keeper does it. Raises MoveRefused for one that is not there."""
    check(MAY_REQUEST, by, "have a restore point read back")
    point = RestorePoint.objects.locked(pk)
    if point.state not in READABLE:
        raise MoveRefused(f"{point} is {point.get_state_display().lower()}: there is nothing to read.", point)
    record(point, "ask to verify", by=by)
    verify_soon(point)
    return point


def prune(*, system: System, by: Person, only: Sequence[str] | None = None) -> list[RestorePoint]:
    """Let go of the restore points that the system's rule no longer keeps (`only`: those of these tags, which a person
    has read); its host takes them off the disk."""
    check(MAY_MANAGE, by, f"remove restore points of {system}")
    gone = keeping.prune(system, by=by, only=only)
    tend_soon(system)
    return gone


@transaction.atomic
def mark_bad(pk: int, *, by: Person, reason: str) -> RestorePoint:
    """A bad point is never offered as a target; an empty reason takes the mark away."""
    check(MAY_REQUEST, by, "mark a restore point")
    point = RestorePoint.objects.locked(pk)
    point.bad, point.bad_reason = bool(reason), reason[:200]
    point.bad_at, point.bad_by = (timezone.now(), by) if reason else (None, None)
    point.save()
    record(point, "mark bad" if reason else "mark good", by=by, note=reason)
    return point


# --- the matrix -----------------------------------------------------------------------------------------------------


def matrix() -> list[DecisionRule]:
    """The rules of the version in force. Raises NoMatrix."""
    return list(MatrixVersion.current().rules.all())


def answer(*, severity: str, scope: str, procedure: str) -> Decision:
    """What the matrix says to a request. Raises NoMatrix."""
    return decide(matrix(), severity, scope, procedure)


@transaction.atomic
def seed_matrix() -> bool:
    """The guide's section "Rollback Decision Matrix" as version 1; False when there is a matrix already."""
    if MatrixVersion.objects.exists():
        return False
    version = MatrixVersion.objects.create(number=1, note="From the rollback guide")
    rows = [
        (Severity.CRITICAL, Scope.SYSTEM_WIDE, "full", 15, 30, Role.ON_CALL, True),
        (Severity.HIGH, Scope.MULTIPLE, "code", 10, 15, Role.TECH_LEAD, False),
        (Severity.MEDIUM, Scope.SINGLE, "partial", 5, 10, Role.ON_CALL, False),
        (Severity.LOW, Scope.CONFIG, "config", 0, 5, Role.ENGINEER, False),
    ]
    for severity, scope, procedure, low, high, role, immediate in rows:
        DecisionRule.objects.create(
            version=version,
            severity=severity,
            scope=scope,
            procedure=procedure,
            budget_from=low,
            budget_to=high,
            role=role.value,
            immediate=immediate,
        )
    record(version, "seed", by=None)
    return True


# --- rollbacks ------------------------------------------------------------------------------------------------------


@transaction.atomic
def request(
    *,
    system: System,
    by: Person,
    procedure: str,
    target: str,
    severity: str,
    scope: str,
    reason: str,
    incident: Incident | None = None,
    **wishes: Any,
) -> Rollback:
    """Ask for a rollback; a worker plans it. `wishes`: see WISHES. Raises NotAllowed, MoveRefused, NoMatrix."""
    check(MAY_REQUEST, by, f"roll {system} back")
    assert by is not None
    if procedure not in ROLLBACKS:
        raise MoveRefused(f"There is no procedure {procedure!r}: choose one of {', '.join(ROLLBACKS)}.", system)
    if system.retired:
        raise MoveRefused(f"{system} is retired: it gets no new rollbacks.", system)
    if not reason.strip():
        raise MoveRefused("Say why: the reason goes into the log, and the approver reads it.", system)
    if len(target) > LONGEST_TARGET:
        raise MoveRefused(f"{target[:20]}… is too long for the name of a restore point, commit, tag or branch.", system)
    check_wishes(system, procedure, wishes)
    point = target_point(system, target)
    decision = answer(severity=severity, scope=scope, procedure=procedure)
    rollback = Rollback.objects.create(
        system=system,
        incident=incident,
        procedure=procedure,
        severity=severity,
        scope=scope,
        reason=reason.strip(),
        requested_by=by,
        target=target,
        target_point=point,
        **wishes,
        rule=decision.rule,
        decision=decision.why,
        off_matrix=decision.off_matrix,
    )
    if decision.rule.immediate and not rollback.is_immediate:
        rollback.decision += f" {called(by)} wrote that row within the last 24 h, so somebody else has to approve it."
        rollback.save()
    born(rollback, "request", by=by, note=reason, system=system.name, procedure=procedure, to=target)
    if incident is not None:
        system.incidents.add(incident)
        tell(
            rollback, f"{called(by)} asked for {rollback}: {rollback.get_procedure_display()} of {system} to {target}."
        )
    hint(Run.objects.create(system=system, rollback=rollback))
    return rollback


# What a request may ask for besides, and of which procedure.
WISHES = {
    "with_configuration": ["code"],
    "component": ["partial"],
    "into": ["full"],
    "set_logs_aside": ["state"],
    "reset_metrics": ["state"],
}


def check_wishes(system: System, procedure: str, wishes: dict[str, Any]) -> None:
    """Raises MoveRefused for a wish that the procedure cannot fulfil."""
    for name, value in wishes.items():
        if value and procedure not in WISHES[name]:
            words = name.replace("_", " ")
            raise MoveRefused(f"“{words}” goes with {' or '.join(WISHES[name])}, not with {procedure}.", system)
    if procedure == "partial":
        known = system.manifest.components
        if not known:
            raise MoveRefused(
                f"{system} has no components: add “components” to its manifest, or roll its code back.", system
            )
        if wishes.get("component") not in known:
            raise MoveRefused(f"Say which component: {', '.join(known)}.", system)
    if into := wishes.get("into", ""):
        try:
            manifest.check_elsewhere(system.manifest, into)
        except ToolError as error:
            raise MoveRefused(str(error), system) from error


def target_point(system: System, target: str) -> RestorePoint | None:
    """The restore point of that tag, if it is one. Raises MoveRefused for one that cannot be gone back to."""
    take_turn()  # no point is let go of between this look and the request
    point = system.restore_points.filter(tag=target).first()
    if point is not None and not point.is_target:
        why = f"it is marked bad ({point.bad_reason})" if point.bad else f"it is {point.get_state_display().lower()}"
        raise MoveRefused(f"{point} cannot be gone back to: {why}. Choose another one.", system)
    return point


def open_incident(system: System, wanted: str = "") -> Incident | None:
    """The open incident of this number that names the system; without a number the only one that does."""
    rows = system.incidents.filter(state__in=OPEN)
    found = list((rows.filter(pk=wanted) if wanted.isdecimal() and len(wanted) < 15 else rows)[:2])
    return found[0] if len(found) == 1 else None


@transaction.atomic
def arrive(source: Source, arrival: Arrival) -> Alert | None:
    """What a source says, linked with the system that it names, if the portal has one of that name."""
    alert = arriving.arrive(source, arrival)
    if alert is not None and alert.system and (system := System.objects.filter(name=alert.system).first()):
        system.incidents.add(alert.incident)
    return alert


@dataclass(frozen=True)
class Proposal:
    """The rollback that fits an incident, as the matrix has it, and the form for it with its fields filled."""

    system: System
    rule: DecisionRule
    url: str


def proposals(incident: Incident) -> list[Proposal]:
    """For each system that an open incident names, unless a rollback of it is under way already."""
    found = []
    rules = matrix() if incident.is_open and MatrixVersion.objects.exists() else []
    rule = next((each for each in rules if (each.severity, each.scope) == (incident.severity, incident.scope)), None)
    good = RestorePoint.objects.filter(
        system=OuterRef("pk"), bad=False, kind=RestorePoint.Kind.BACKUP, state__in=GOOD
    )  # fmt: skip
    active = Rollback.objects.filter(system=OuterRef("pk"), state__in=ACTIVE)
    systems: QuerySet[Any] = incident.systems.filter(~Exists(active), retired=False).annotate(
        good=Subquery(good.values("tag")[:1])
    )
    for system in systems.exclude(good=None) if rule else []:
        assert rule is not None
        words = {"procedure": rule.procedure, "to": system.good, "incident": incident.pk}
        url = reverse("rollbacks:roll_back", args=[system.name])
        found.append(Proposal(system, rule, f"{url}?{urlencode(words)}"))
    return found


@transaction.atomic
def approve(pk: int, *, by: Person, note: str = "", digest: str = "") -> Rollback:
    """Vote for the plan of this digest (else the newest); the last vote of the quorum approves. Raises MoveRefused,
    NotAllowed."""
    rollback = Rollback.objects.locked(pk)
    vote(rollback, by, Approval.Vote.APPROVE, "approve", note, digest)
    plan = rollback.plan_now
    assert plan is not None
    if plan.votes_for() >= rollback.rule.quorum:
        advance(rollback, "approve", by=by, note=note, digest=plan.digest)
        tell(rollback, f"{called(by)} approved {rollback}.")
        hint(rollback.run)
    return rollback


@transaction.atomic
def reject(pk: int, *, by: Person, note: str, digest: str = "") -> Rollback:
    """One vote against is enough; it needs a reason."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say why you reject it: the requester has to know what to change.")
    vote(rollback, by, Approval.Vote.REJECT, "reject", note, digest)
    advance(rollback, "reject", by=by, note=note)
    tell(rollback, f"{called(by)} rejected {rollback}: {note}")
    return rollback


def vote(rollback: Rollback, by: Person, choice: str, move: str, note: str, digest: str) -> None:
    """Append a person's vote on the current plan."""
    if rollback.state != RollbackState.AWAITING_APPROVAL:
        raise MoveRefused(why_not(rollback, move, by), rollback)
    if reason := may_vote(rollback, by):
        raise NotAllowed(f"{called(by)} cannot {move} {rollback}: {reason}.")
    assert by is not None
    plan = plan_read(rollback, digest)
    if plan.approvals.filter(voter=by).exists():
        raise MoveRefused(f"You have voted on this plan of {rollback} already.", rollback)
    Approval.objects.create(plan=plan, voter=by, vote=choice, roles=titles(by), reason=note)
    record(rollback, f"vote {choice}", by=by, note=note, digest=plan.digest)


def plan_read(rollback: Rollback, digest: str) -> Plan:
    """The plan that is decided on. Raises MoveRefused when it is not the one that the person has read, or when its time
    is over and no sweep has noticed it yet."""
    plan = rollback.plan_now
    assert plan is not None
    if rollback.expires_at is not None and rollback.expires_at <= timezone.now():
        raise MoveRefused(
            f"{rollback} was to be decided until {rollback.expires_at:%H:%M} UTC. Nothing was begun. Ask again if it "
            "is still needed.",
            rollback,
        )
    if not plan.digest.startswith(digest):
        raise MoveRefused(
            f"The plan of {rollback} has changed since you read it: your word does not count for the new one. Read "
            "what would change now, and decide again.",
            rollback,
        )
    return plan


def may_vote(rollback: Rollback, by: Person) -> str:
    """ "" or why this person has no vote on it (whatever the votes so far)."""
    return who_may(rollback, "approve").why_not(rollback, by)


@transaction.atomic
def override(pk: int, *, by: Person, note: str, digest: str = "") -> Rollback:
    """Break-glass: approve without the votes. It works at once, and opens a review that blocks closing the incident."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say why the approval cannot be waited for: a Tech Lead reviews it.")
    if rollback.state == RollbackState.AWAITING_APPROVAL:
        plan_read(rollback, digest)
    advance(rollback, "override", by=by, note=note)
    assert by is not None
    incidents.open_review(
        incident=rollback.incident,
        kind=Review.Kind.OVERRIDE,
        subject=f"{rollback} of {rollback.system}",
        url=rollback.get_absolute_url(),
        reason=note,
        by=by,
        asked_by=rollback.requested_by,
    )
    tell(rollback, f"{called(by)} overrode the approval of {rollback}: {note}")
    hint(rollback.run)
    return rollback


@transaction.atomic
def cancel(pk: int, *, by: Person, note: str = "") -> Rollback:
    rollback = Rollback.objects.locked(pk)
    advance(rollback, "cancel", by=by, note=note)
    tell(rollback, f"{called(by)} cancelled {rollback}. {note}".strip())
    return rollback


@transaction.atomic
def complete(pk: int, *, by: Person, note: str) -> Rollback:
    """End the watch early."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say why the watch can end early.")
    advance(rollback, "complete", by=by, note=note)
    tell(rollback, f"{called(by)} completed {rollback} before its watch was over: {note}")
    follow_up(rollback)
    return rollback


@transaction.atomic
def abort(pk: int, *, by: Person, note: str) -> Rollback:
    """Stop, and put everything back as it was found."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say why it is aborted.")
    rollback.trouble = f"Aborted by {called(by)}: {note}"
    advance(rollback, "abort", by=by, note=note)
    tell(rollback, f"{called(by)} aborted {rollback}: {note}. Everything is put back as it was found.", "reopen")
    hint(rollback.run)
    return rollback


@transaction.atomic
def resume(pk: int, *, by: Person, note: str) -> Rollback:
    """held → running: go on with the step that failed."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say what you did or found, so that it can go on.")
    advance(rollback, "resume", by=by, note=note)
    rollback.run.steps.filter(state__in=[StepState.FAILED, StepState.UNDONE]).update(state=StepState.WAITING)
    tell(rollback, f"{called(by)} resumed {rollback}: {note}")
    hint(rollback.run)
    return rollback


@transaction.atomic
def revert(pk: int, *, by: Person, note: str) -> Rollback:
    """held → reverting: try the way back (again)."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say what you did or found, so that the way back can be tried.")
    advance(rollback, "revert", by=by, note=note)
    tell(rollback, f"{called(by)} has {rollback} undone: {note}")
    hint(rollback.run)
    return rollback


@transaction.atomic
def settle(pk: int, *, by: Person, note: str) -> Rollback:
    """held → completed: a person finished it by hand, and says so."""
    rollback = Rollback.objects.locked(pk)
    need(rollback, note, "Say what was done by hand: it goes into the record.")
    advance(rollback, "settle", by=by, note=note)
    seconds = (timezone.now() - rollback.started_at).total_seconds() if rollback.started_at else 0.0
    seen = rollback.run.measured
    RollbackLogEntry.write(
        rollback,
        outcome=RollbackLogEntry.Outcome.SETTLED,
        rollback_seconds=seconds,
        downtime_seconds=seen.get("down", seen.get("down_before")),
        outage_seconds=seen.get("outage"),
    )
    tell(rollback, f"{called(by)} finished {rollback} by hand: {note}")
    follow_up(rollback)
    return rollback


# --- the checklist --------------------------------------------------------------------------------------------------


@transaction.atomic
def tick(pk: int, *, by: Person, item: str, note: str) -> Rollback:
    """A person's word on what no record can show. Raises MoveRefused, NotAllowed, Unknown."""
    rollback = Rollback.objects.locked(pk)
    found = checklist_item(rollback, by, item)
    if found.tick is not None:
        said = ago(max(0, round((timezone.now() - found.tick.at).total_seconds())))
        raise MoveRefused(f"“{found.title}” was ticked by {called(found.tick.by)} {said} ago.", rollback)
    if not found.finding.asks:
        raise MoveRefused(f"“{found.title}” is not for a person to tick: {found.finding.words}.", rollback)
    return say_on(rollback, found, by, note, withdrawn=False)


@transaction.atomic
def withdraw(pk: int, *, by: Person, item: str, note: str) -> Rollback:
    """Take a tick back, anybody's; both words stay in the record."""
    rollback = Rollback.objects.locked(pk)
    found = checklist_item(rollback, by, item)
    if found.tick is None:
        raise MoveRefused(f"“{found.title}” is not ticked by a person: there is nothing to withdraw.", rollback)
    return say_on(rollback, found, by, note, withdrawn=True)


def checklist_item(rollback: Rollback, by: Person, key: str) -> checklist.Item:
    check(MAY_REQUEST, by, f"tick the checklist of {rollback}")
    listed = checklist.read(rollback)
    if listed is None:
        raise MoveRefused(f"{rollback} is {rollback.get_state_display().lower()}: it has no checklist.", rollback)
    found = listed.item(key)
    if found is None:
        raise Unknown(f"The checklist has no item {key!r}. It has {', '.join(listed.keys)}.")
    return found


def say_on(rollback: Rollback, item: checklist.Item, by: Person, note: str, *, withdrawn: bool) -> Rollback:
    need(rollback, note, f"Say what you know about “{item.title}”: the approver and the post-mortem read it.")
    assert by is not None
    ChecklistTick.objects.create(rollback=rollback, item=item.key, by=by, note=note.strip(), withdrawn=withdrawn)
    move = "withdraw" if withdrawn else "tick"
    record(rollback, move, by=by, note=f"{item.title}: {note.strip()}", item=item.key)
    verb = "withdrew" if withdrawn else "ticked"
    tell(rollback, f"{called(by)} {verb} “{item.title}” for {rollback}: {note.strip()}")
    return rollback


def need(rollback: Rollback, note: str, words: str) -> None:
    if not note.strip():
        raise MoveRefused(words, rollback)


@transaction.atomic
def explain(pk: int, *, by: Person, root_cause: str, prevention: str) -> RollbackLogEntry:
    """Root cause and prevention of a log entry; the ledger keeps what stood there before."""
    check(MAY_REQUEST, by, "explain a log entry")
    take_turn()
    return explained(RollbackLogEntry.objects.select_for_update().get(pk=pk), by, root_cause, prevention)


def explained(entry: RollbackLogEntry, by: Person, root_cause: str, prevention: str) -> RollbackLogEntry:
    before = {"root_cause": entry.root_cause, "prevention": entry.prevention}
    entry.root_cause, entry.prevention = root_cause.strip() or UNKNOWN, prevention.strip() or UNKNOWN
    entry.save()
    record(entry.rollback, "explain", by=by, before=before)
    return entry


@transaction.atomic
def publish_postmortem(pk: int, *, by: Person, note: str = "") -> PostMortem:
    """Publish, and let the log say what was found: what stood there before, the ledger keeps."""
    postmortem = postmortems.publish(pk, by=by, note=note)
    found = dict(postmortem.sections.values_list("key", "body"))
    entries = RollbackLogEntry.objects.select_for_update().filter(rollback__incident=postmortem.incident_id)
    for entry in entries.order_by("pk"):
        said = found.get("causes", "") or entry.root_cause, found.get("prevention", "") or entry.prevention
        if said != (entry.root_cause, entry.prevention):
            explained(entry, by, *said)
    return postmortem


@transaction.atomic
def import_log(entries: list[ImportedLogEntry], *, by: Person, system: System | None) -> tuple[int, int]:
    """Keep the entries of a log that was written by hand; (new ones, those that were there). All of them, or none."""
    check(MAY_MANAGE, by, "import a rollback log")
    take_turn()
    assert by is not None
    new = 0
    for entry in entries:
        entry.system, entry.imported_by = system, by
        words = [entry.title, entry.at.isoformat(), entry.trigger, entry.root_cause, system.name if system else ""]
        entry.digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
        if not ImportedLogEntry.objects.filter(digest=entry.digest).exists():
            entry.save(force_insert=True)
            record(entry, "import", by=by)
            new += 1
    return new, len(entries) - new
