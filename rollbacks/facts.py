"""What a post-mortem need not say, because it is recorded: read from the rows each time, never typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from django.db.models import Prefetch
from django.urls import reverse
from django.utils import timezone

from incidents.models import Incident, Notification, Way
from portal.ledger.models import rows_of
from portal.ledger.roles import called
from rollbacks.log_format import in_words
from rollbacks.models import Rollback, RollbackLogEntry

Cell = str | datetime | timedelta


@dataclass(frozen=True)
class Row:
    """One line; its first cell leads to the record."""

    url: str
    cells: list[Cell]


@dataclass(frozen=True)
class Block:
    section: str  # the key of the section under which it stands
    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    is_public: bool = False  # times and numbers, without a name or anybody's words


def facts(incident: Incident, *, public: bool) -> list[Block]:
    """All blocks that have a line, or those that may leave the house."""
    rollbacks = list(
        incident.rollbacks.select_related("system", "rule", "run", "log_entry", "requested_by")
        .prefetch_related("plans__approvals__voter", "run__steps")
        .order_by("pk")
    )
    blocks = [
        downtime(rollbacks),
        story(incident),
        states(incident),
        votes(rollbacks),
        steps(rollbacks),
        log_entries(rollbacks),
        deliveries(incident),
        to_do(incident),
    ]
    return [block for block in blocks if block.rows and (block.is_public or not public)]


def story(incident: Incident) -> Block:
    page = incident.get_absolute_url()
    rows = [Row(f"{page}#entry-{each.pk}", [each.at, each.by_name, each.text]) for each in incident.timeline.all()]
    return Block("timeline", "Timeline", ("When", "Who", "What"), rows)


def states(incident: Incident) -> Block:
    """How long it was in each state, by the ledger."""
    moves = [(row.target.capitalize(), row.at) for row in rows_of(incident).exclude(target="").order_by("number")]
    over = incident.closed_at or timezone.now()
    rows = [
        Row(incident.get_absolute_url(), [state, since, until - since])
        for (state, since), (_, until) in pairwise([*moves, ("", over)])
    ]
    return Block("timeline", "Time in each state", ("State", "Since", "For"), rows, is_public=True)


def votes(rollbacks: list[Rollback]) -> Block:
    """Each vote, and how long it was waited for since its plan was shown."""
    rows = []
    for rollback in rollbacks:
        for plan in reversed(rollback.plans.all()):
            for vote in plan.approvals.all():
                cells: list[Cell] = [str(rollback), vote.get_vote_display(), called(vote.voter), vote.at - plan.made_at]
                rows.append(Row(rollback.get_absolute_url(), cells))
    return Block("timeline", "Votes", ("Rollback", "Vote", "By", "Waited for"), rows)


def steps(rollbacks: list[Rollback]) -> Block:
    rows = [
        Row(f"{rollback.get_absolute_url()}#step-{step.number}", [str(step), str(rollback), in_words(step.seconds)])
        for rollback in rollbacks
        for step in rollback.run.steps.all()
        if step.started_at
    ]
    return Block("timeline", "Steps", ("Step", "Rollback", "Took"), rows, is_public=True)


def downtime(rollbacks: list[Rollback]) -> Block:
    """What was measured, against what the matrix allows."""
    rows = []
    for rollback, entry in entries(rollbacks):
        budget, down = rollback.rule.budget_to, entry.downtime_seconds
        verdict = "not measured" if down is None else "within it" if down <= budget * 60 else "over it"
        cells: list[Cell] = [str(rollback), in_words(down), in_words(entry.outage_seconds)]
        rows.append(Row(rollback.get_absolute_url(), [*cells, f"{budget} min", verdict]))
    columns = ("Rollback", "Downtime", "Of it without any answer", "Budget", "")
    return Block("impact", "Measured downtime", columns, rows, is_public=True)


def log_entries(rollbacks: list[Rollback]) -> Block:
    rows = [
        Row(rollback.get_absolute_url(), [entry.title, entry.at, entry.get_outcome_display(), entry.trigger])
        for rollback, entry in entries(rollbacks)
    ]
    return Block("timeline", "Log entries", ("Entry", "At", "Outcome", "Trigger"), rows)


def entries(rollbacks: list[Rollback]) -> Iterator[tuple[Rollback, RollbackLogEntry]]:
    for rollback in rollbacks:
        entry = getattr(rollback, "log_entry", None)
        if entry is not None:
            yield rollback, entry


def deliveries(incident: Incident) -> Block:
    """Each message, to how many it was on its way, what became of that, and how long the slowest took."""
    page = reverse("incidents:incident_deliveries", args=[incident.pk])
    copies = Notification.objects.filter(again=None).exclude(way=Way.BROWSER)
    rows = []
    for message in incident.messages.prefetch_related(Prefetch("notifications", copies)).order_by("pk"):
        sent = message.notifications.all()
        if sent:
            became = Counter(each.get_state_display().lower() for each in sent)
            arrived = max((each.sent_at for each in sent if each.sent_at), default=None)
            words = ", ".join(f"{count} {state}" for state, count in became.most_common())
            rows.append(
                Row(page, [message.made_at, message.subject, words, arrived - message.made_at if arrived else ""])
            )
    return Block("timeline", "Deliveries", ("When", "Message", "Copies", "The slowest took"), rows)


def to_do(incident: Incident) -> Block:
    rows = [
        Row(item.get_absolute_url(), [item.title, item.get_state_display(), owner, item.due_at or "no date"])
        for item in incident.action_items.select_related("owner")
        for owner in [called(item.owner) if item.owner else "nobody yet"]
    ]
    return Block("actions", "Action items", ("Item", "State", "Owner", "Due"), rows)


# --- as Markdown ----------------------------------------------------------------------------------------------------


def as_markdown(block: Block) -> str:
    """A table under its title."""
    lines = [f"**{block.title}**", "", row_of(block.columns), row_of(["---"] * len(block.columns))]
    return "\n".join([*lines, *(row_of([in_text(cell) for cell in row.cells]) for row in block.rows)])


def row_of(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def in_text(cell: Cell) -> str:
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S} UTC"
    return in_words(cell.total_seconds()) if isinstance(cell, timedelta) else cell
