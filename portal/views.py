"""The overview, the live stream, and the sample's button: what needs both people and machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.db import connection, transaction
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from incidents import auditor
from incidents.models import OPEN, Incident, Message, Review, TimelineEntry
from incidents.models.incident import DECLARERS
from portal.ledger.models import Ledger, record
from portal.sample import control
from rollbacks import actions
from rollbacks.models import Health, HealthChange, Rollback, RollbackState, Run, StepOutput, System
from rollbacks.views.systems import with_latest

POLL_SECONDS = 0.2  # a step's output is on the page within a second of being printed
PING_SECONDS = 10.0
WATCH_SECONDS = 10  # between two looks of an open page at the chart of a watch
LOOKER = ThreadPoolExecutor(1, "looker")  # one thread and one database connection, however many pages are open
STREAM_SECONDS = 600.0  # then the page connects again, and is asked again who it is
SYSTEMS_SHOWN = 15  # on the overview; all of them have a page
ROLLBACKS_SHOWN = 20  # of those under way: the page of all systems names each one's
UNDER_WAY = [RollbackState.APPROVED, RollbackState.RUNNING, RollbackState.REVERTING, RollbackState.MONITORING]


@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    person = request.user
    rollbacks = Rollback.objects.select_related("system", "requested_by", "rule", "incident")
    asked = list(rollbacks.filter(state=RollbackState.AWAITING_APPROVAL))
    waiting = [each for each in asked if not actions.may_vote(each, person)]  # type: ignore[arg-type]
    active = rollbacks.filter(state__in=UNDER_WAY)
    systems = System.objects.filter(retired=False)
    return render(
        request,
        "overview.html",
        {
            "burning": Incident.objects.filter(state__in=OPEN).select_related("declared_by")[:20],
            "unhealthy": with_latest(systems.filter(health=Health.UNHEALTHY)),
            "asked": asked,
            "waiting": waiting,
            "others_waiting": [each for each in asked if each not in waiting],
            "held": rollbacks.filter(state=RollbackState.HELD),
            "active": list(active[:ROLLBACKS_SHOWN]),
            "active_count": active.count(),
            "reviews": Review.objects.filter(reviewed_at=None).select_related("opened_by", "incident")[:20],
            "systems": list(with_latest(systems)[:SYSTEMS_SHOWN]),
            "systems_count": systems.count(),
            "why_not_request": actions.MAY_REQUEST.why_not(None, person),  # type: ignore[arg-type]
            "alarm": auditor.alarm(),
            "may_declare": DECLARERS.why_not(None, person),  # type: ignore[arg-type]
        },
    )


@require_POST
def break_sample(request: HttpRequest, name: str) -> HttpResponse:
    """Deploy a bad release: on the sample, and nowhere else."""
    system = get_object_or_404(System, name=name)
    if not system.is_sample:
        raise Http404("This system is no sample.")
    actions.check(actions.MAY_REQUEST, request.user, "deploy to the sample")  # type: ignore[arg-type]
    try:
        commit = control.deploy_bad(settings.HOME / "sample")
    except control.NotRunningError as error:
        messages.error(request, str(error))
        return redirect(system)
    with transaction.atomic():
        record(system, "break", by=request.user, note="A bad release was deployed", commit=commit)  # type: ignore[arg-type]
    messages.warning(request, f"The bad release {commit[:10]} is deployed. Watch the health of {system}.")
    return redirect(system)


# --- live -----------------------------------------------------------------------------------------------------------


class Pulse:
    """A marker of all that pages show, asked of the database once for all pages that are open in this process."""

    def __init__(self) -> None:
        self.at = 0.0
        self.marker = ""

    def look(self) -> str:
        if time.monotonic() - self.at >= POLL_SECONDS:
            self.marker, self.at = marker(), time.monotonic()
        return self.marker


pulse = Pulse()


def marker() -> str:
    newest = [
        model._default_manager.aggregate(newest=Max("pk"))["newest"] or 0
        for model in (Ledger, StepOutput, HealthChange, TimelineEntry, Message)
    ]
    running = Run.objects.filter(rollback__state__in=[RollbackState.RUNNING, RollbackState.REVERTING])
    clocks = [f"{run.pk}:{run.measured.get('down_since')}" for run in running]
    steps = Run.objects.filter(lease_until__isnull=False).values_list("steps__state", flat=True)
    ill = System.objects.filter(health=Health.UNHEALTHY).values_list("name", "health_detail", "facts__commit")
    if Rollback.objects.filter(state=RollbackState.MONITORING).exists():
        clocks.append(f"watch {int(time.time() // WATCH_SECONDS)}")
    return "-".join([*map(str, newest), *clocks, "".join(state[0] for state in steps if state), str(hash(tuple(ill)))])


def look() -> str:
    try:
        return pulse.look()
    finally:
        connection.close_if_unusable_or_obsolete()


@require_GET
async def live(request: HttpRequest) -> StreamingHttpResponse:
    """Server-sent events: "change" whenever a page should look again. What changed, the page's own view says."""
    return StreamingHttpResponse(
        stream(),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def stream() -> AsyncIterator[str]:
    ask = sync_to_async(look, thread_sensitive=False, executor=LOOKER)
    began = pinged = time.monotonic()
    seen = ""
    yield "retry: 1000\n\n"
    while time.monotonic() - began < STREAM_SECONDS:
        now = await ask()
        if now != seen:
            seen = now
            yield f"event: change\ndata: {now}\n\n"
        elif time.monotonic() - pinged > PING_SECONDS:
            pinged = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(POLL_SECONDS)
