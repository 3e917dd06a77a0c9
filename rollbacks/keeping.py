"""The machine's care of restore points: it reads them back, lets go of old ones, and removes what was let go of.

None of it is a run: it waits for no lease and holds none up. Each piece may be done twice, by two workers, or be cut
off anywhere; the next look finds what is left to do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from incidents.models import IncidentState
from portal.ledger.models import rows_of
from portal.ledger.moves import advance
from portal.ledger.roles import Person
from rollbacks.heartbeat import masked
from rollbacks.models import ENDED, READABLE, RestorePoint, RestorePointState, Rollback, RollbackState, Run, System
from rollbacks.procedures import adopt, backup
from rollbacks.procedures.base import Facts, Point, in_words
from rollbacks.retention import Verdict, choose
from rollbacks.tools import ToolError, files, git
from rollbacks.tools.manifest import Manifest

log = logging.getLogger(__name__)

READ_AFTER = timedelta(hours=20)  # before it is stale, with room for a host that is busy
SAME_ROUND = timedelta(hours=1)
AT_WORK = [RollbackState.PLANNING, RollbackState.APPROVED, RollbackState.RUNNING, RollbackState.REVERTING]
OVER = [IncidentState.CLOSED, IncidentState.CANCELLED]

# --- reading back ---------------------------------------------------------------------------------------------------


def unread(host: str) -> list[RestorePoint]:
    """What this host has to read back now, the oldest first: each trusts the one before it."""
    there = RestorePoint.objects.filter(state__in=READABLE, system__host=host, system__retired=False)
    found = there.filter(Q(run=None) | Q(run__ended_at__isnull=False)).select_related("system").order_by("made_at")
    return [point for point in found if timezone.now() - last_read(point) > READ_AFTER or never_read(point)]


def never_read(point: RestorePoint) -> bool:
    return point.state == RestorePointState.AVAILABLE


def last_read(point: RestorePoint) -> datetime:
    """When somebody last knew what it is like."""
    said = rows_of(point).order_by("-number").first() if point.state == RestorePointState.CORRUPT else None
    return said.at if said else (point.verified_at or point.made_at)


def read_back(pk: int, *, whole: bool = True) -> RestorePoint:
    """Read a restore point on its host, and enter what was found. Not whole (the daily round): what it shares with an
    older one that was read within this round is not read again."""
    point = RestorePoint.objects.select_related("system").get(pk=pk)
    if point.system.host != settings.HOST or point.state not in READABLE:
        return point
    return enter(pk, trouble_of(point, "" if whole else read_before(point)), asked=whole)


def read_before(point: RestorePoint) -> str:
    """The newest older one that was read back in this round; the oldest of all reads everything."""
    older = point.system.restore_points.filter(made_at__lt=point.made_at, state=RestorePointState.VERIFIED)
    return older.filter(verified_at__gt=timezone.now() - SAME_ROUND).values_list("tag", flat=True).first() or ""


def trouble_of(point: RestorePoint, trusted: str) -> str:
    """ "" or what is wrong with it, in words. Takes no lock: it may read for long."""
    try:
        seen = Point(point.tag, point.commit, point.manifest_sha256)
        return "; ".join(backup.check(point.system.manifest, seen, trusted=trusted))
    except Exception as error:  # whatever it is, nobody may rely on what cannot be read
        log.exception("reading %s back", point)
        return f"it cannot be read: {in_words(error)}"


def enter(pk: int, trouble: str, *, asked: bool = False) -> RestorePoint:
    """verified or corrupt. What is as it was known to be is no news, unless somebody `asked`: only the time is kept."""
    with transaction.atomic():
        point = RestorePoint.objects.locked(pk)
        if point.state not in READABLE:  # let go of meanwhile
            return point
        if trouble:
            point.problem = masked(point.system, trouble)
            advance(point, "distrust", by=None, note=point.problem)
        elif point.state == RestorePointState.VERIFIED and not asked:
            point.verified_at = timezone.now()
            point.save(update_fields=["verified_at"])
        else:
            advance(point, "verify", by=None)
        return point


def is_busy(system: System) -> bool:
    """A run is at work on its host: nothing may get into its way."""
    rollbacks = Rollback.objects.filter(system__host=system.host, state__in=AT_WORK)
    backups = Run.objects.filter(system__host=system.host, restore_point__isnull=False, ended_at=None)
    return rollbacks.exists() or backups.exists()


# --- what was made by hand ------------------------------------------------------------------------------------------


def hand_made(system: System) -> list[Facts]:
    """The guide's backups that lie on the host and were not taken over: [{"tag", "commit", "at", "lacks"}]."""
    kept = [RestorePointState.CREATING, *READABLE]
    points = system.restore_points.filter(kind=RestorePoint.Kind.HAND_MADE, state__in=kept)
    taken = {adopt.original(tag) for tag in points.values_list("tag", flat=True)}
    seen = [each for each in system.facts.get("hand_made", []) if each["tag"] not in taken]
    return [{**each, "at": datetime.fromisoformat(each["at"])} for each in seen]


# --- letting go -----------------------------------------------------------------------------------------------------


def verdicts(system: System) -> list[Verdict]:
    """What becomes of each restore point by the system's own rule."""
    points = list(system.restore_points.filter(state__in=READABLE))
    return choose(points, system.manifest.retention, needed(system), timezone.now())


def needed(system: System) -> dict[int, str]:
    """Why somebody still needs a restore point, by its key."""
    wanted = Q(target_point__isnull=False) | Q(run__started_at__isnull=False)
    live = system.rollbacks.filter(wanted).filter(~Q(state__in=ENDED) | open_incident()).select_related("run")
    why: dict[int, str] = {}
    for rollback in live:
        reason = f"{rollback} is {rollback.get_state_display().lower()}"
        if rollback.state in ENDED:
            reason = f"the incident of {rollback} is not closed"
        if rollback.target_point_id:
            why[rollback.target_point_id] = f"its target: {reason}"
        for pk in safety_points_of(rollback):
            why[pk] = f"its way back: {reason}"
    under_way = Run.objects.filter(system=system, restore_point__isnull=False, ended_at=None)
    return why | {pk: "it is being made" for pk in under_way.values_list("restore_point", flat=True) if pk}


def open_incident() -> Q:
    return Q(incident__isnull=False) & ~Q(incident__state__in=OVER)


def safety_points_of(rollback: Rollback) -> list[int]:
    found = Q(reason=f"State as found by {rollback}") | Q(found_by=rollback)
    return list(rollback.system.restore_points.filter(found).values_list("pk", flat=True))


def prune(system: System, *, by: Person = None, only: Sequence[str] | None = None) -> list[RestorePoint]:
    """Let go of what the rule no longer keeps (`only`: of these tags); remove() takes it off the disk afterwards. Under
    the ledger's lock, as every request for a rollback: none gets a target that goes."""
    gone = []
    with transaction.atomic():
        system = System.objects.locked(system.pk)
        for verdict in verdicts(system):
            if not verdict.stays and (only is None or verdict.point.tag in only):
                point = RestorePoint.objects.locked(verdict.point.pk)
                advance(point, "prune", by=by, note=verdict.why, tag=point.tag)
                gone.append(point)
    return gone


# --- removing -------------------------------------------------------------------------------------------------------


def remove_pruned(system: System) -> list[str]:
    """Take what was let go of off this host's disk, and finish what one who was killed has begun. Returns the tags."""
    if system.host != settings.HOST or is_busy(system):
        return []
    manifest = system.manifest
    there = names_in(manifest)
    pruned = system.restore_points.filter(state=RestorePointState.PRUNED)
    removed = []
    for point in pruned:
        if there & {point.tag, aside_of(point.tag)}:
            try:
                remove(manifest, point.tag, point.commit)
                removed.append(point.tag)
            except (ToolError, OSError):  # the next look tries again, and no other point waits for it
                log.exception("removing %s", point)
    return removed


def names_in(manifest: Manifest) -> set[str]:
    return {path.name for path in manifest.backups.iterdir()} if manifest.backups.is_dir() else set()


def aside_of(tag: str) -> str:
    return f".{tag}.pruned"


def remove(manifest: Manifest, tag: str, commit: str) -> None:
    """The tags first, the directory last: while it is there, the sweep comes back. It is renamed before, so that half
    a restore point never stands where a whole one did. The remote's tag stays: others may rely on it."""
    place, aside = backup.place(manifest, tag), files.inside(manifest.backups, aside_of(tag))
    with suppress(FileNotFoundError):  # one who was killed came as far
        place.rename(aside)
    files.sync_directory(manifest.backups)
    for repository in (manifest.root, backup.mirror(manifest)):
        if repository.is_dir() and git.tagged(repository, tag) == commit:
            git.delete_tag(repository, tag)
    files.remove(aside)
