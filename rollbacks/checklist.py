"""The guide's checklist of a rollback (section "Rollback Checklist"), read off its records each time.

An item ticks itself when a record shows that it is done, and links to that record. What only a person can know waits
for a person's word (actions.tick). Nothing is ticked because somebody meant to do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from portal.ledger.models import Ledger, rows_of
from portal.ledger.roles import called
from rollbacks.models import ChecklistTick, Plan, RestorePoint, Rollback, RollbackLogEntry, RollbackState, Step
from rollbacks.models.log_entry import UNKNOWN
from rollbacks.models.restore_point import RestorePointState
from rollbacks.models.run import StepState
from rollbacks.tools.manifest import Manifest

NEVER_BEGUN = [RollbackState.REFUSED, RollbackState.REJECTED, RollbackState.EXPIRED, RollbackState.CANCELLED]
PUT_BACK = [RollbackState.REVERTING, RollbackState.REVERTED]
HOUR = 60  # minutes: the guide's watch


class Status(StrEnum):
    TICKED = "ticked"
    OPEN = "open"
    LATER = "later"  # the run does it by itself, and does not go on without it
    NOT_HERE = "does not apply"


@dataclass(frozen=True)
class Finding:
    """What the records say of one item; `asks` is the question to a person whose word would tick it."""

    status: Status
    words: str
    url: str = ""
    asks: str = ""


@dataclass(frozen=True)
class Item:
    key: str
    title: str
    finding: Finding
    tick: ChecklistTick | None = None  # the person's word that ticks it

    @property
    def status(self) -> Status:
        return Status.TICKED if self.tick else self.finding.status

    @property
    def is_open(self) -> bool:
        return self.status == Status.OPEN

    def __str__(self) -> str:
        if self.tick is not None:
            return f"{self.title}: {called(self.tick.by)}, {self.tick.note}"
        return f"{self.title}: {self.finding.words}"


@dataclass(frozen=True)
class Part:
    """Before, during or after."""

    name: str
    items: list[Item]

    @property
    def left(self) -> list[Item]:
        return [item for item in self.items if item.is_open]

    @property
    def ticked(self) -> int:
        return sum(item.status == Status.TICKED for item in self.items)

    @property
    def count(self) -> int:
        return sum(item.status != Status.NOT_HERE for item in self.items)


@dataclass(frozen=True)
class Checklist:
    before: Part
    during: Part
    after: Part

    @property
    def parts(self) -> list[Part]:
        return [self.before, self.during, self.after]

    @property
    def is_go(self) -> bool:
        return not self.before.left

    @property
    def verdict(self) -> str:
        """Go, or what is missing for it."""
        missing = "; ".join(f"{item.title} ({item.finding.words})" for item in self.before.left)
        return f"No-go, missing: {missing}." if missing else "Go: everything before the rollback is done."

    @property
    def keys(self) -> list[str]:
        return [item.key for part in self.parts for item in part.items]

    def item(self, key: str) -> Item | None:
        return next((item for part in self.parts for item in part.items if item.key == key), None)


@dataclass(frozen=True)
class Records:
    """What an item may be read off."""

    rollback: Rollback
    manifest: Manifest
    plan: Plan | None
    steps: dict[str, Step]

    @cached_property
    def entry(self) -> RollbackLogEntry | None:
        return getattr(self.rollback, "log_entry", None)

    @property
    def is_put_back(self) -> bool:
        return self.rollback.state in PUT_BACK

    @property
    def is_settled(self) -> bool:
        return self.entry is not None and self.entry.outcome == RollbackLogEntry.Outcome.SETTLED

    def is_done(self, name: str) -> bool:
        return name in self.steps and self.steps[name].state == StepState.DONE

    def by_step(self, name: str, words: str) -> Finding:
        """Ticked when that step is done, by a person's word where the rollback was finished by hand."""
        if self.is_done(name):
            return ticked(words, f"#step-{self.steps[name].number}")
        if self.is_put_back:
            return not_here("the rollback was undone")
        if self.is_settled:
            return Finding(Status.OPEN, "it was finished by hand", asks="What was done?")
        return Finding(Status.OPEN, "the run has not come to it yet")


def ticked(words: str, url: str = "") -> Finding:
    return Finding(Status.TICKED, words, url)


def not_here(why: str) -> Finding:
    return Finding(Status.NOT_HERE, why)


# --- before ---------------------------------------------------------------------------------------------------------


def issue(records: Records) -> Finding:
    return Finding(Status.OPEN, "nobody has said it yet", asks="What is broken, and what broke it?")


def scope(records: Records) -> Finding:
    rollback, plan = records.rollback, records.plan
    if plan is None:
        return Finding(Status.OPEN, "there is no plan yet")
    row = f"{rollback.get_severity_display()}, {rollback.get_scope_display().lower()}"
    votes = [f"{each.get_vote_display().lower()} by {called(each.voter)}" for each in plan.approvals.all()]
    return ticked("; ".join([f"{row}: {plan} says what changes", *votes]), "#plan")


def version(records: Records) -> Finding:
    rollback, plan = records.rollback, records.plan
    if plan is None:
        return Finding(Status.OPEN, "there is no plan yet")
    asks = "How do you know that it worked?"
    if (bad := RestorePoint.bad_release(rollback.system, plan.target_commit)) is not None:
        return Finding(Status.OPEN, f"{plan.target_commit[:10]} {bad.mark}", bad.get_absolute_url(), asks)
    point = rollback.target_point
    if point is None:
        return Finding(Status.OPEN, f"no restore point was named that vouches for {rollback.target}", asks=asks)
    if point.state != RestorePointState.VERIFIED:
        return Finding(Status.OPEN, f"{point} is not verified", point.get_absolute_url(), asks)
    at = f", read back {point.verified_at:%-d %b %H:%M} UTC" if point.verified_at else ""
    return ticked(f"{point.tag} is verified{at}", point.get_absolute_url())


def told_plan(records: Records) -> Finding:
    if records.plan is None:
        return Finding(Status.OPEN, "there is no plan yet")
    return Finding(Status.OPEN, "nobody has said so yet", asks="Who was told, and how?")


def evidence(records: Records) -> Finding:
    point = records.rollback.found.exclude(state__in=[RestorePointState.CREATING, RestorePointState.FAILED]).first()
    if point is not None:
        return ticked(f"{point.tag} keeps the state as found", point.get_absolute_url())
    if records.plan is not None and records.plan.body["essence"].get("goal", {}).get("anew"):
        return not_here("nothing stands there yet")
    return Finding(Status.LATER, "the run makes a safety point before it changes anything, and ends if it cannot")


# --- during ---------------------------------------------------------------------------------------------------------


def stop(records: Records) -> Finding:
    if records.manifest.service.manager == "none":
        return not_here("the manifest names no service manager")
    return records.by_step("switch", "the service was stopped in the switch only")


def execute(records: Records) -> Finding:
    return records.by_step("switch", f"{records.rollback.get_procedure_display()}: what was staged is in place")


def validate(records: Records) -> Finding:
    done, every = sum(records.is_done(name) for name in records.steps), len(records.steps)
    if every and done == every:
        return ticked(f"all {every} steps are verified", "#steps")
    open_or_undone = records.by_step("", "")
    if every and open_or_undone.status == Status.OPEN and not open_or_undone.asks:
        return Finding(Status.OPEN, f"{done} of {every} steps are verified", "#steps")
    return open_or_undone


def tests(records: Records) -> Finding:
    """What the procedure tries out on what is staged: the system's tests, the component's, or its configuration."""
    commands, procedure = records.manifest.commands, records.rollback.procedure
    if procedure == "state":
        return not_here("a state rollback changes no code")
    name = {"partial": "component_test", "config": "validate_config"}.get(procedure, "test")
    if not commands.get(name):
        return not_here(f"the manifest names no {name} command")
    step = "validate" if procedure == "config" else "try"
    return records.by_step(step, f"{commands[name]} passed on what was staged")


def logs(records: Records) -> Finding:
    if not records.manifest.logs:
        return not_here("the manifest names no logs")
    found = records.by_step("health", "no new error line was written")
    count = records.steps["health"].facts.get("errors", 0) if found.status == Status.TICKED else 0
    if count:
        return Finding(Status.OPEN, f"{count} new error lines", found.url, "What are the new error lines?")
    return found


# --- after ----------------------------------------------------------------------------------------------------------


def functionality(records: Records) -> Finding:
    if records.rollback.state == RollbackState.REVERTED:
        return ticked("every undo was verified: the system is as it was found", "#steps")
    found = records.by_step("health", "")
    if found.status != Status.TICKED:
        return found
    if answer := records.steps["health"].facts.get("health"):
        return ticked(f"the running process answers: {answer}", found.url)
    if records.manifest.service.manager != "none":
        return ticked("the running process is the new one", found.url)
    words = "the manifest names neither a service manager nor a health URL"
    return Finding(Status.OPEN, words, asks="What did you try?")


def smoke(records: Records) -> Finding:
    command = records.manifest.commands.get("smoke")
    if not command:
        return not_here("the manifest names no smoke command")
    return records.by_step("health", f"{command} passed")


def watch(records: Records) -> Finding:
    rollback, minutes = records.rollback, records.manifest.watch_minutes
    if rollback.into:
        return not_here("a copy beside the system is not watched")
    if records.is_put_back:
        return not_here("the rollback was undone")
    if rollback.state == RollbackState.COMPLETED and not records.is_settled:
        return watched(records, rows_of(rollback).filter(move="complete").first())
    if records.is_settled:
        return Finding(Status.OPEN, "it was finished by hand", asks="For how long was it watched, and how?")
    if rollback.state == RollbackState.MONITORING and rollback.watch_until is not None:
        return Finding(Status.OPEN, f"under watch until {rollback.watch_until:%H:%M} UTC", "#watch")
    return Finding(Status.OPEN, f"{minutes:g} min, once all steps are verified")


def watched(records: Records, row: Ledger | None) -> Finding:
    if row is not None and row.actor_id is not None:
        return ticked(f"ended early by {row.actor_name}: {row.note}", "#watch")
    if not records.manifest.health_url:
        words = "the time is over, but the manifest names no health URL"
        return Finding(Status.OPEN, words, asks="How was it watched?")
    return ticked(f"healthy through {records.manifest.watch_minutes:g} min", "#watch")


def told_end(records: Records) -> Finding:
    if not records.rollback.is_over and records.rollback.state != RollbackState.MONITORING:
        return Finding(Status.OPEN, "it is not over yet")
    return Finding(Status.OPEN, "nobody has said so yet", asks="Who was told, and how?")


def document(records: Records) -> Finding:
    entry = records.entry
    if entry is None:
        return Finding(Status.OPEN, "the log entry is written at the end of the run")
    empty = [name for name in ("root_cause", "prevention") if getattr(entry, name) == UNKNOWN]
    if empty:
        words = " and ".join(name.replace("_", " ") for name in empty)
        return Finding(Status.OPEN, f"the log entry does not say {words} yet", "#explain")
    return ticked("the log entry says root cause and prevention", "#explain")


# --- the list -------------------------------------------------------------------------------------------------------

Look = Callable[[Records], Finding]
BEFORE: dict[str, tuple[str, Look]] = {
    "issue": ("Identify exact issue and root cause", issue),
    "scope": ("Determine rollback scope", scope),
    "version": ("Identify last known good version", version),
    "told-plan": ("Notify stakeholders of rollback plan", told_plan),
    "evidence": ("Take backup of current (failed) state for analysis", evidence),
}
DURING: dict[str, tuple[str, Look]] = {
    "stop": ("Stop affected services", stop),
    "execute": ("Execute rollback procedure", execute),
    "validate": ("Validate each step", validate),
    "tests": ("Run tests before restart", tests),
    "logs": ("Monitor logs during restart", logs),
}
AFTER: dict[str, tuple[str, Look]] = {
    "functionality": ("Verify system functionality", functionality),
    "smoke": ("Run smoke tests", smoke),
    "watch": ("Monitor for 1 hour", watch),
    "told-end": ("Notify stakeholders of completion", told_end),
    "document": ("Document incident and rollback", document),
}
OF_THE_PLAN = ["version", "told-plan"]  # a word on these was a word on the plan of its time, and on no later one


def read(rollback: Rollback) -> Checklist | None:
    """The checklist as of now; None where nothing was ever carried out, or will be."""
    if rollback.state in NEVER_BEGUN:
        return None
    run = rollback.run
    steps = {step.name: step for step in run.steps.all()}
    records = Records(rollback, run.manifest, rollback.plan_now, steps)
    said = {tick.item: tick for tick in rollback.ticks.select_related("by")}
    parts = (("Before", BEFORE), ("During", DURING), ("After", AFTER))
    return Checklist(*(Part(name, list(items(records, wanted, said))) for name, wanted in parts))


def items(records: Records, wanted: dict[str, tuple[str, Look]], said: dict[str, ChecklistTick]) -> Iterator[Item]:
    for key, (title, look) in wanted.items():
        finding, tick = look(records), said.get(key)
        counts = tick is not None and not tick.withdrawn and bool(finding.asks) and not is_outdated(records, tick)
        yield Item(key, in_words(records, key, title), finding, tick if counts else None)


def is_outdated(records: Records, tick: ChecklistTick) -> bool:
    return tick.item in OF_THE_PLAN and records.plan is not None and tick.at < records.plan.made_at


def in_words(records: Records, key: str, title: str) -> str:
    """The guide's words; a system that is watched for another time says so."""
    minutes = records.manifest.watch_minutes
    return f"Monitor for {minutes:g} min" if key == "watch" and minutes != HOUR else title
