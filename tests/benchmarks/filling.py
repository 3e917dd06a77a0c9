"""Years of use, written straight into the tables: what the pages are measured on. Imported once Django is set up.

Each row is one that could be there: plans with their votes, runs with their nine steps, backups among the safety points
that rollbacks left, incidents with their timelines, a ledger with its chain. The same years come out every time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.contrib.auth.models import User as Person
from django.db import connection, models, transaction

from incidents.models import Incident, Review, TimelineEntry
from incidents.models.incident import respond_by
from portal.ledger.models import Head, Ledger
from portal.ledger.roles import Role
from rollbacks.models import (
    Approval,
    DecisionRule,
    HealthChange,
    Plan,
    RestorePoint,
    Rollback,
    RollbackLogEntry,
    Run,
    Step,
    System,
)
from rollbacks.models.log_entry import UNKNOWN
from rollbacks.procedures.code import PROCEDURE

Row = dict[str, Any]
YEARS = timedelta(days=3 * 365)
MANIFEST = """\
[system]
name = "{name}"
root = "/srv/{name}"
backups = "/var/backups/{name}"
config = ["config/agents.config.json"]
secrets = [".env"]

[commands]
test = "invoke test"

[health]
url = "http://127.0.0.1:8000/health"
"""
TRIGGERS = [
    "The planner answers 500 since the release of this morning, in about a third of all requests",
    "Memory of the coordinator grows until the kernel ends it, every forty minutes",
    "The reviewer leaves every second change without an answer after the new prompt",
    "Latency of the queue is ten times what it was before the deployment of yesterday evening",
    "The model named in config/agents.config.json does not exist any more; all calls are refused",
]
CAUSES = [
    UNKNOWN,
    "A budget below one token was accepted, and the loop never ended",
    "The cache had no upper limit once its key contained the time of day",
    "A dependency was raised to a new major version by an unpinned requirement",
]
PREVENTIONS = [
    UNKNOWN,
    "The budget is checked when the configuration is read, and a test holds it",
    "A soak test of one hour runs before each deployment",
    "Requirements are pinned with hashes; the update comes as a change of its own",
]
STORY = ["declared it", "acknowledged it", "asked for a rollback", "approved the rollback", "The rollback has started",
         "The system is back and verified", "resolved it", "closed it"]  # fmt: skip
MOVES = [("request", ""), ("plan", "awaiting_approval"), ("vote approve", ""), ("approve", "approved"),
         ("start", "running"), *((f"step {step.name} done", "") for step in PROCEDURE.steps),
         ("watch", "monitoring"), ("complete", "completed")]  # fmt: skip
NEVER_RAN = ["refused", "rejected", "expired", "cancelled"]
ACTIVE = ["awaiting_approval", "running", "monitoring", "held"]
OPEN = ["declared", "acknowledged", "mitigating", "monitoring"]


@dataclass(frozen=True)
class Numbers:
    """How much of each. The active rollbacks are the newest, and so are the open incidents: at 91 rollbacks and 18
    incidents a day these are more than would be there at any moment."""

    systems: int = 200
    people: int = 60
    incidents: int = 20_000
    open_incidents: int = 20
    ran: int = 100_000  # rollbacks with a log entry
    never_ran: int = 5_000
    active: int = 12
    backups: int = 10_000
    health_changes: int = 10_000
    reviews: int = 5_000
    in_ledger: int = 18_000  # rollbacks whose moves are in the ledger


class Filling:
    """`Filling(Numbers()).fill()`, on a database that is migrated and seeded."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.chance = random.Random(7)  # noqa: S311 — nobody has to be surprised by it
        self.until = datetime.now(UTC)

    def at(self, part: float) -> datetime:
        """0 is three years ago, 1 is now."""
        return self.until - YEARS * (1 - part)

    def fill(self) -> dict[str, int]:
        """Returns the number of rows in the tables that grow, by their names."""
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size = -400000")
        with transaction.atomic():
            self.people = write(Person, self.each_person())
            self.give_roles()
            self.systems = write(System, self.each_system())
            write(HealthChange, self.each_health_change())
            write(RestorePoint, self.each_point())
            self.incidents = write(Incident, self.each_incident())
            write(TimelineEntry, self.each_timeline_entry())
            self.rules = list(DecisionRule.objects.values_list("pk", flat=True))
            self.rollbacks = write(Rollback, self.each_rollback())
            write(System.incidents.through, self.each_naming())
            write(Approval, self.each_approval(write(Plan, self.each_plan())))
            write(Run, self.each_run())
            write_steps()
            write(RollbackLogEntry, self.each_log_entry())
            write(Review, self.each_review())
            write(Ledger, self.each_ledger_row(), key="number")
        return {str(model._meta.verbose_name_plural): model._default_manager.count() for model in COUNTED}

    # --- people and systems ---

    def each_person(self) -> Iterator[Row]:
        for number in range(self.numbers.people):
            yield {"username": f"person{number}", "first_name": f"Person{number}", "last_name": "Example"}

    def give_roles(self) -> None:
        groups = list(Group.objects.filter(name__in=[Role.ENGINEER, Role.ON_CALL, Role.TECH_LEAD]))
        for number, group in enumerate(groups):
            group.user_set.add(*(row["id"] for row in self.people[number :: len(groups)]))

    def each_system(self) -> Iterator[Row]:
        log = [
            {
                "sha": f"{number:040x}",
                "subject": f"Change {number}",
                "author": "Dev",
                "at": self.until.isoformat(),
                "tags": [f"v1.{number}"],
            }
            for number in range(12)
        ]
        for number in range(self.numbers.systems):
            name, ill = f"agents-{number:03}", number % 40 == 0
            yield {
                "name": name,
                "manifest_text": MANIFEST.format(name=name),
                "health": "unhealthy" if ill else "healthy",
                "health_detail": "500 in 3 ms" if ill else "200 in 3 ms",
                "health_checked_at": self.until,
                "facts": {"commit": f"{number:040x}", "branch": "main", "log": log, "packages": 61, "free": 10**11},
                "facts_at": self.until,
            }

    def system(self, number: int) -> int:
        return int(self.systems[number % len(self.systems)]["id"])

    def each_health_change(self) -> Iterator[Row]:
        total = self.numbers.health_changes
        for number in range(total):
            health = ["healthy", "unhealthy"][number // len(self.systems) % 2]
            yield {"system_id": self.system(number), "at": self.at(number / total), "health": health}

    def each_point(self) -> Iterator[Row]:
        total = self.numbers.backups + self.numbers.ran
        every = total // self.numbers.backups
        for number in range(total):
            made_at, is_backup = self.at(number / total), number % every == 0
            yield {
                "system_id": self.system(number // every if is_backup else number),
                "tag": f"{'backup' if is_backup else 'failed'}-{made_at:%Y%m%d-%H%M%S}-{number}",
                "kind": "backup" if is_backup else "safety",
                "state": "verified",
                "bad": not is_backup,
                "made_at": made_at,
                "verified_at": made_at,
                "commit": f"{number:040x}",
                "size": 10**7,
            }

    # --- incidents ---

    def each_incident(self) -> Iterator[Row]:
        total = self.numbers.incidents
        for number in range(total):
            declared, severity = self.at(number / total), self.chance.choice(["critical", "high", "medium", "low"])
            is_open = number >= total - self.numbers.open_incidents
            yield {
                "title": f"{self.chance.choice(TRIGGERS)[:60]} ({number})",
                "summary": self.chance.choice(TRIGGERS),
                "severity": severity,
                "scope": self.chance.choice(["system-wide", "multiple", "single", "config"]),
                "state": OPEN[number % 4] if is_open else "closed",
                "declared_by_id": self.person(number),
                "declared_at": declared,
                "respond_by": respond_by(severity, declared),
                "closed_at": None if is_open else declared + timedelta(hours=3),
            }

    def person(self, number: int) -> int:
        return int(self.people[number % len(self.people)]["id"])

    def each_timeline_entry(self) -> Iterator[Row]:
        for incident in self.incidents:
            for minutes, text in enumerate(STORY):
                yield {
                    "incident_id": incident["id"],
                    "at": incident["declared_at"] + timedelta(minutes=minutes),
                    "by_id": incident["declared_by_id"],
                    "by_name": "Somebody Example",
                    "kind": "move",
                    "text": text,
                }

    def each_naming(self) -> Iterator[Row]:
        """Which incident names which systems: those of its rollbacks."""
        named = {(row["system_id"], row["incident_id"]) for row in self.rollbacks if row["incident_id"]}
        for system, incident in sorted(named):
            yield {"system_id": system, "incident_id": incident}

    def each_review(self) -> Iterator[Row]:
        """All but the last ten are answered."""
        total = self.numbers.reviews
        for number, row in enumerate(self.rollbacks[:: len(self.rollbacks) // total][:total]):
            answered = number < total - 10
            yield {
                "incident_id": row["incident_id"],
                "kind": "override",
                "subject": f"Rollback {row['id']}",
                "url": f"/rollbacks/{row['id']}/",
                "reason": row["reason"],
                "opened_by_id": row["requested_by_id"],
                "opened_at": row["requested_at"],
                "due_at": row["requested_at"] + timedelta(hours=24),
                "reviewed_by_id": self.person(0) if answered else None,
                "reviewed_at": row["requested_at"] + timedelta(hours=20) if answered else None,
            }

    # --- rollbacks ---

    def each_rollback(self) -> Iterator[Row]:
        numbers = self.numbers
        total = numbers.ran + numbers.never_ran + numbers.active
        every = (total - numbers.active) // numbers.never_ran
        for number in range(total):
            if number >= total - numbers.active:  # of different systems: one has one active rollback at most
                state = ACTIVE[number % 4]
            elif number % every == 0:
                state = NEVER_RAN[number // every % 4]
            else:
                state = "reverted" if number % 25 == 1 else "completed"
            at, ran = self.at(number / total), state not in [*NEVER_RAN, "awaiting_approval"]
            yield {
                "system_id": self.system(number),
                "incident_id": self.incidents[number * len(self.incidents) // total]["id"] if number % 5 else None,
                "state": state,
                "procedure": "code",
                "severity": "critical" if number % 100 == 1 else self.chance.choice(["high", "medium", "low"]),
                "scope": self.chance.choice(["system-wide", "multiple", "single", "config"]),
                "reason": f"{self.chance.choice(TRIGGERS)}; ticket {number}",
                "requested_by_id": self.person(number),
                "requested_at": at,
                "target": f"backup-{at:%Y%m%d-%H%M%S}",
                "rule_id": self.rules[number % len(self.rules)],
                "decision": "The row High × Multiple components holds: Code rollback, 10–15 min, one Tech Lead.",
                "expires_at": at + timedelta(minutes=60),
                "approved_at": at + timedelta(minutes=5) if ran else None,
                "started_at": at + timedelta(minutes=5) if ran else None,
                "ended_at": None if state in ACTIVE else at + timedelta(minutes=70),
            }

    def each_plan(self) -> Iterator[Row]:
        commit = {"sha": "c" * 40, "subject": "Budget for the planner", "author": "Dev", "at": self.until.isoformat()}
        shown = {
            "target": {**commit, "tags": ["v1.2.0"]},
            "from": {**commit, "tags": ["v1.3.0"]},
            "branch": "main",
            "left_behind": [commit] * 3,
            "environment_kept": True,
            "steps": [{"name": step.name, "title": step.title, "outage": step.outage} for step in PROCEDURE.steps],
            "outage_seconds": 0.4,
        }
        body = json.dumps({"essence": {"goal": {}, "found": {}, "steps": []}, "shown": shown})
        for row in self.rollbacks:
            made_at = row["requested_at"]
            yield {
                "rollback_id": row["id"],
                "number": 1,
                "digest": f"{row['id']:064x}",
                "body": body,
                "made_at": made_at,
            }

    def each_approval(self, plans: list[Row]) -> Iterator[Row]:
        for number, (plan, row) in enumerate(zip(plans, self.rollbacks, strict=True), start=1):
            if row["approved_at"]:
                at, voter = row["approved_at"], self.person(number)
                yield {"plan_id": plan["id"], "voter_id": voter, "vote": "approve", "roles": "Tech Lead", "at": at}

    def each_run(self) -> Iterator[Row]:
        for row in self.rollbacks:
            yield {
                "system_id": row["system_id"],
                "rollback_id": row["id"],
                "made_at": row["requested_at"],
                "started_at": row["started_at"],
                "ended_at": row["ended_at"] or (row["started_at"] if row["state"] == "monitoring" else None),
                "token": row["id"],
                "claims": 2,
                "measured": {"total": 42.0, "down": 0.4, "outage": 0.4},
            }

    def each_log_entry(self) -> Iterator[Row]:
        for row in self.rollbacks:
            if row["state"] in ("completed", "reverted"):
                cause = self.chance.randrange(len(CAUSES))
                yield {
                    "rollback_id": row["id"],
                    "system_id": row["system_id"],
                    "severity": row["severity"],
                    "at": row["requested_at"] + timedelta(minutes=6),
                    "outcome": "succeeded" if row["state"] == "completed" else "reverted",
                    "trigger": row["reason"],
                    "rollback_seconds": 42.0,
                    "downtime_seconds": 0.4,
                    "outage_seconds": 0.4,
                    "root_cause": CAUSES[cause],
                    "prevention": PREVENTIONS[cause],
                }

    def each_ledger_row(self) -> Iterator[Row]:
        """The chain goes on from its head, with what was done in the newest rollbacks."""
        head, _ = Head.objects.get_or_create(pk=1)
        for rollback in self.rollbacks[-self.numbers.in_ledger :]:
            for minutes, (move, target) in enumerate(MOVES):
                row = {
                    "number": head.number + 1,
                    "at": rollback["requested_at"] + timedelta(minutes=minutes),
                    "actor_id": None,
                    "actor_name": "the portal",
                    "kind": "rollback",
                    "object_id": str(rollback["id"]),
                    "label": f"Rollback {rollback['id']}",
                    "move": move,
                    "target": target,
                    "note": rollback["reason"] if move == "request" else "",
                    "previous": head.hash,
                }
                row["hash"] = Ledger(**row).digest()
                head.number, head.hash = head.number + 1, row["hash"]
                yield row
        head.save()


def write(model: type[models.Model], rows: Iterable[Row], key: str = "id") -> list[Row]:
    """A sixth of bulk_create's time, by not making objects; returns the rows with their keys."""
    fields = {field.attname: field for field in model._meta.concrete_fields}
    unsaid = {name: as_stored(field.get_default()) for name, field in fields.items()}
    columns = ", ".join(f'"{field.column}"' for field in fields.values())
    kept: list[Row] = []

    def values() -> Iterator[list[Any]]:
        newest = model._default_manager.aggregate(newest=models.Max(key))["newest"] or 0
        for number, row in enumerate(rows, newest + 1):
            row.setdefault(key, number)
            kept.append(row)
            yield [as_stored(row[name]) if name in row else unsaid[name] for name in fields]

    places = ", ".join(["%s"] * len(fields))
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({places})", list(values()))  # noqa: S608
    return kept


def write_steps() -> None:
    """Nine of each run that began, and what one of them said: nearly a million rows, by the database itself."""
    with connection.cursor() as cursor:
        for number, step in enumerate(PROCEDURE.steps, 1):
            cursor.execute(
                "INSERT INTO rollbacks_step"
                " (run_id, number, name, title, outage, state, token, facts, trouble, started_at, ended_at)"
                " SELECT id, %s, %s, %s, %s, 'done', token, '{}', '', started_at, started_at FROM rollbacks_run"
                " WHERE started_at IS NOT NULL",
                [number, step.name, step.title, step.outage],
            )
        cursor.execute(
            "INSERT INTO rollbacks_stepoutput (step_id, at, text)"
            " SELECT id, ended_at, '21 passed in 1.87s' FROM rollbacks_step WHERE name = 'try'"
        )


def as_stored(value: Any) -> Any:
    """As Django writes it into SQLite. All times are UTC here."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ")
    return json.dumps(value) if isinstance(value, dict | list) else value


COUNTED: list[type[models.Model]] = [
    System, Rollback, RollbackLogEntry, Step, RestorePoint, Incident, TimelineEntry, Ledger
]  # fmt: skip
