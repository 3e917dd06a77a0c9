"""The pulse of a run, in a thread beside the work: renews the lease, keeps what a step says, the downtime measured so
far, and notices that the run was taken over, or that a person aborted it."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone

from rollbacks.models import RollbackState, Run, StepOutput, System
from rollbacks.tools import ToolError, mask, prober
from rollbacks.tools.manifest import Manifest

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.3  # between two looks; an output is on the page within a second
KEPT = 1024 * 1024  # characters of a step's output that are stored
LAST = 16 * 1024  # and, when it says more, its last ones


def masker_of(manifest: Manifest) -> mask.Masker:
    """Hides the system's secrets, the worker's own, and whatever looks like one. Raises OSError for secrets that cannot
    be read."""
    addresses = mask.from_addresses("\n".join([manifest.text, *os.environ.values()]))
    secrets = mask.from_env_files(manifest.root / name for name in manifest.secrets)
    own = [value for key, value in os.environ.items() if mask.looks_secret(key)]
    return mask.Masker([*secrets, *addresses, *own, settings.SECRET_KEY])


def masked(subject: Run | System, said: str) -> str:
    """What a command or a service said, as it may be kept: a ledger's row and a timeline are never taken back."""
    try:
        hide = masker_of(subject.manifest)
    except (ToolError, OSError):  # its secrets cannot be read: what looks like one is hidden all the same
        hide = mask.hide
    return hide(said)


class Heartbeat:
    """`with Heartbeat(run, token) as heart:`, then heart.attend(step) before each step; heart.say and heart.stopped
    are what the step is given.

    `lost` is set once it is known, or has to be feared, that somebody else holds the run; then it stays so.
    """

    def __init__(self, run: int, token: int) -> None:
        self.run, self.token = run, token
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.lost = threading.Event()
        self.aborted = threading.Event()
        self.renewed = time.monotonic()
        self.step = 0
        self.undoing = False
        self.stream = mask.Stream(mask.hide)
        self.pending: list[str] = []
        self.kept = self.dropped = 0
        self.last = self.unmasked = ""
        self.measured: dict[str, float | None] = {}
        self.prober_file: Path | None = None
        self.prober: Future[None] | None = None
        self.beside = ThreadPoolExecutor(1, thread_name_prefix="prober")

    def __enter__(self) -> Heartbeat:
        self.thread = threading.Thread(target=self.beat, name=f"heartbeat of run {self.run}", daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()
        self.beside.shutdown()
        self.flush()

    # --- what the work calls ---

    def attend(self, step: int, manifest: Manifest, *, undoing: bool = False) -> None:
        """From now on what is said belongs to this step. An undo is not stopped by the abort that asked for it."""
        masker = masker_of(manifest)
        self.flush()
        with self.lock:
            self.step, self.undoing = step, undoing
            self.stream = mask.Stream(masker)
            self.kept = self.dropped = 0
            self.last = self.unmasked = ""

    def measure_with(self, manifest: Manifest, file: Path, *, at_once: bool) -> None:
        """Have the health URL asked all through the run; the prober of a worker that died goes on as ours.

        When it returns the prober measures, unless it need not be `at_once`: then the next call waits for that.
        """
        if manifest.health_url and self.prober is None:
            manifest.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # not left to the prober
            self.prober = self.beside.submit(prober.start, manifest.health_url, file)
            self.prober_file = file
        if self.prober is not None and at_once:
            self.prober.result()

    def say(self, text: str) -> None:
        with self.lock:
            if self.kept < KEPT:
                self.keep(self.stream.feed(text))
            else:  # masking takes a second for each megabyte: from here on only what will be shown is masked
                self.dropped += len(text)
                self.unmasked = (self.unmasked + text)[-4 * LAST :]

    def stopped(self) -> bool:
        """Asked by the step: a lease that could not be renewed in time may be somebody else's by now."""
        if time.monotonic() - self.renewed > settings.LEASE_SECONDS:
            self.lost.set()
        return self.lost.is_set() or (self.aborted.is_set() and not self.undoing)

    def flush(self) -> None:
        """Store what is still held back: a step's end."""
        with self.lock:
            if self.unmasked:
                self.last = (self.last + self.masked_end())[-LAST:]
            else:
                self.keep(self.stream.close())
            if self.dropped:
                left_out = max(0, self.dropped - len(self.last))
                self.pending.append(f"\n… {left_out} characters are not kept …\n{self.last}")
                self.dropped, self.last, self.unmasked = 0, "", ""
        self.store()

    # --- the thread ---

    def beat(self) -> None:
        """Whatever fails, the pulse goes on: the lease hangs on it, and without one two workers would be at work."""
        while not self.ended.wait(BATCH_SECONDS):
            for part in (self.renew, self.store, self.measure):
                try:
                    part()
                except Exception:
                    log.exception("heartbeat of run %s", self.run)
                    connections.close_all()  # a database that was restarted is asked anew
        connections.close_all()

    def keep(self, text: str) -> None:
        room = max(0, KEPT - self.kept)
        if text[:room]:
            self.pending.append(text[:room])
            self.kept += len(text[:room])
        if text[room:]:
            self.dropped += len(text[room:])
            self.last = (self.last + text[room:])[-LAST:]

    def masked_end(self) -> str:
        """What was said last, masked. Where its beginning was cut off, half a secret may stand there."""
        if len(self.unmasked) == 4 * LAST:
            self.stream.close()
            line, ended, rest = self.unmasked.partition("\n")
            self.unmasked = rest if ended else line[mask.HELD_BACK :]
        return self.stream.feed(self.unmasked) + self.stream.close()

    def store(self) -> None:
        """What was said, into the step's output; kept for the next time when the database does not take it now."""
        with self.lock:
            text, self.pending, step = "".join(self.pending), [], self.step
        if not text or not step:
            return
        try:
            with transaction.atomic():
                ours = Run.objects.select_for_update(of=("self",), no_key=True).filter(pk=self.run, token=self.token)
                if ours.order_by().values_list("pk").first() is not None:
                    StepOutput.objects.create(step_id=step, text=text)
        except Exception:
            with self.lock:
                self.pending.insert(0, text)
            raise

    def measure(self) -> None:
        """The downtime so far, for the clock on the page; written only when it changes."""
        if self.prober_file is None:
            return
        prober.beat(self.prober_file)
        seen = prober.read(self.prober_file)
        before = seen.down_seconds - (seen.until - seen.down_since if seen.down_since else 0.0)
        now = {"down_before": round(before, 3), "down_since": seen.down_since}
        if now != self.measured:
            Run.objects.filter(pk=self.run, token=self.token, ended_at=None).update(measured=now)
            self.measured = now

    def renew(self) -> None:
        self.look_for_abort()
        began = time.monotonic()
        if self.lost.is_set() or began - self.renewed < settings.LEASE_SECONDS / 3:
            return
        until = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
        if Run.objects.filter(pk=self.run, token=self.token).update(lease_until=until):
            self.renewed = began
        else:
            self.lost.set()

    def look_for_abort(self) -> None:
        gone = [RollbackState.REVERTING, RollbackState.HELD]
        if not self.aborted.is_set() and Run.objects.filter(pk=self.run, rollback__state__in=gone).exists():
            self.aborted.set()
