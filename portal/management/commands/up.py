from __future__ import annotations

import io
import json
import os
import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from portal import stack
from portal.sample import layout
from portal.supervision import Supervisor

LOOK_SECONDS = 1.0  # between two looks at whether everything still runs


class Progress:
    """One line for each thing that is being done, ended by how long it took."""

    def __init__(self, out: OutputWrapper) -> None:
        self.out = out
        self.began = 0.0

    def __call__(self, what: str) -> None:
        self.done()
        self.write(f"  {what} … ", ending="")
        self.began = time.monotonic()

    def done(self, how: str = "") -> None:
        """Ends the open line, if there is one."""
        if self.began:
            self.write(how or f"{time.monotonic() - self.began:.1f} s")
        self.began = 0.0

    def write(self, text: str, ending: str = "\n") -> None:
        """Prints, where there is still a terminal: one that was closed must not keep us from ending everything."""
        with suppress(OSError):
            self.out.write(text, ending=ending)
            self.out.flush()


class Command(BaseCommand):
    help = "Starts the whole portal on this machine, with a sample system to try it on, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="where the pages are served, on 127.0.0.1")
        parser.add_argument("--no-sample", action="store_false", dest="sample", help="without the sample system")

    def handle(self, *, port: int, sample: bool, **options: Any) -> None:
        progress = Progress(self.stdout)
        try:
            with interruptible(), stack.only_one(settings.HOME, stack.address(port)):
                self.run(port, sample, progress)
        except KeyboardInterrupt:
            progress.done("interrupted")
        except (stack.StackError, layout.LayoutError, TimeoutError) as error:
            progress.done("failed")
            raise CommandError(str(error)) from error

    def run(self, port: int, sample: bool, progress: Progress) -> None:
        """From an empty directory, or from what the last time left, to a portal that serves; then to its end."""
        self.stdout.write(f"Starting the portal (data in {settings.HOME})")
        demo = wants_demo()
        with running(port, sample, demo, progress) as parts:
            self.stdout.write(self.welcome(port, demo))
            self.stdout.flush()
            self.watch(parts)

    def welcome(self, port: int, demo: bool) -> str:
        """The address, and who may sign in."""
        lines = ["", self.style.SUCCESS(f"The portal is ready: {stack.address(port)}"), ""]
        accounts = demo_accounts(settings.HOME) if demo else []
        if accounts:
            rows = [("ROLE", "NAME", "USERNAME", "PASSWORD")]
            rows += [(row["role"], row["name"], row["username"], row["password"]) for row in accounts]
            widths = [max(len(row[column]) for row in rows) for column in range(4)]
            lines += [
                "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
            ]
            lines += ["", "The sign-in page signs you in as any of them with one click.", ""]
        return "\n".join([*lines, "Ctrl-C ends all of it; the data stays."])

    def watch(self, parts: stack.Stack) -> None:
        """Until somebody ends it; says once of each part that supervisord gave up on. StackError if that one ends."""
        said: set[str] = set()
        while True:
            time.sleep(LOOK_SECONDS)
            for process in parts.fallen():
                if process.name not in said:
                    said.add(process.name)
                    self.stderr.write(
                        f"the {process.name} keeps ending, and is left stopped\n{parts.tail(process.name)}"
                    )


@contextmanager
def running(port: int, sample: bool, demo: bool, progress: Progress) -> Iterator[stack.Stack]:
    """Prepares and starts everything; ends it when the block ends, however that is."""
    end_leftover(settings.HOME, progress)
    if not stack.port_is_free(port):
        raise CommandError(f"port {port} is taken by another program. Use another one: make up PORT={port + 1}")
    parts = stack.portal_stack(port, with_sample=sample, environment={"PORTAL_DEMO": "on" if demo else "off"})
    progress("preparing the database")
    call_command("migrate", verbosity=0, interactive=False)
    progress("roles, decision matrix, contacts")
    call_command("seed", demo=demo, stdout=io.StringIO())
    if sample:
        add_sample(port, progress)
    try:
        progress("starting broker, workers, scheduler, web" + (", sample" if sample else ""))
        parts.start()
        parts.wait_ready(progress)
        progress.done()
        yield parts
    except stack.StackError:
        progress.done("failed")
        raise
    finally:
        ignore_signals()
        progress("ending everything (a step that is running is finished first, for 30 s at most)")
        parts.stop()
        progress.done()


def end_leftover(home: Path, progress: Progress) -> None:
    """An `up` that was killed leaves its parts running. We hold the lock, so they are nobody's: they are ended."""
    leftover = Supervisor(home / "stack.conf")
    if leftover.answers():
        progress("ending what an interrupted start left running")
        leftover.shutdown(stack.STOP_SECONDS)
        progress.done()


def wants_demo() -> bool:
    """Demo accounts, unless somebody said no, or the portal can be reached from elsewhere."""
    loopback = settings.LOOPBACK.issuperset(settings.ALLOWED_HOSTS)
    return bool(settings.DEMO or (loopback and "PORTAL_DEMO" not in os.environ))


def add_sample(port: int, progress: Progress) -> None:
    """Lays the sample out, on the first free port above the portal's own, and makes it known to the portal."""
    progress("the sample system")
    free = next((trial for trial in range(port + 10, 65536) if stack.port_is_free(trial)), None)
    if free is None:
        raise CommandError(f"no port above {port} is free for the sample: make up PORT=8000, or up --no-sample")
    manifest = layout.lay_out(settings.HOME / "sample", say=progress, health_port=free, host=settings.HOST)
    call_command("add_system", str(manifest), stdout=io.StringIO())


def demo_accounts(home: Path) -> list[dict[str, str]]:
    """What seed --demo wrote down."""
    file = home / "demo-accounts.json"
    accounts: list[dict[str, str]] = json.loads(file.read_text()) if file.exists() else []
    return accounts


@contextmanager
def interruptible() -> Iterator[None]:
    """A TERM, or a terminal that is closed, ends us as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """While everything is being ended, a second Ctrl-C would only leave half of it running."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
