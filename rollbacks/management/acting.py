"""What the commands have in common: somebody's permissions, the right exit codes, following to the end (DESIGN 8)."""

from __future__ import annotations

import difflib
import getpass
import json
import os
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from portal.ledger.models import came_by
from portal.ledger.moves import MoveRefused, NotAllowed
from rollbacks import checklist, runner
from rollbacks.actions import Unknown
from rollbacks.models import ENDED, NoMatrix, Plan, RestorePoint, RestorePointState, Rollback, RollbackState, Run
from rollbacks.tools import ToolError, git

UNDER_WAY = [RestorePointState.CREATING, RestorePointState.AVAILABLE]  # available: still to be read back
SUCCEEDED = [RollbackState.MONITORING, RollbackState.COMPLETED]
LOOK_SECONDS = 0.2
WRONG_WORDS = 2  # the exit code for what was typed wrongly
INTERRUPTED = 130  # and for Ctrl-C, as shells have it


class ActingCommand(BaseCommand):
    """A command that somebody gives: --as, --wait, --local, --json. Exit codes: 0 done, 1 failed or refused, 2 wrong
    words."""

    keys: tuple[str, ...] = ()  # what --json says besides the state, also when nothing came to be

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--as", dest="username", metavar="USERNAME", help="whose permissions count (default: yours)"
        )
        parser.add_argument("--wait", action="store_true", help="follow to the end; exit 0 only on success")
        parser.add_argument(
            "--local", action="store_true", help="carry it out in this process: when the broker is down"
        )
        parser.add_argument("--json", action="store_true", help="the last line is one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        self.rollback: Rollback | None = None  # the one that the command is about, once it is known
        try:
            with came_by(os_account=git.user_name(os.getuid())):  # --as names a person; this is who typed it
                self.act(**options)
        except Unknown as error:
            raise CommandError(str(error), returncode=WRONG_WORDS) from error
        except (MoveRefused, NotAllowed, NoMatrix, ToolError) as error:
            self.finish({**self.known(), "trouble": str(error)})
            raise CommandError(str(error), returncode=1) from error
        except DatabaseError as error:
            raise CommandError(
                f"The database does not do its part: {error}. What was done before is kept. Look at DATABASE_URL; "
                "a new database is prepared by `python manage.py migrate` and `python manage.py seed`.",
                returncode=1,
            ) from error
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {self.left_behind()}", returncode=INTERRUPTED) from None

    def act(self, *args: Any, **options: Any) -> None:
        raise CommandError("this command does nothing by itself")

    def person(self) -> User:
        """Who gives the command. Raises Unknown, with near names."""
        name = self.options["username"] or getpass.getuser()
        people = get_user_model()._default_manager
        found = people.filter(username=name, is_active=True).first()
        if found is not None:
            return found
        names = list(people.filter(is_active=True).values_list("username", flat=True))
        near = ", ".join(difflib.get_close_matches(name, names, 3, 0.4) or sorted(names)[:8])
        raise Unknown(f"There is no active user {name!r}: name one with --as. There is {near or 'nobody yet'}.")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def finish(self, said: dict[str, Any]) -> None:
        if self.options["json"]:
            self.stdout.write(json.dumps(said, ensure_ascii=False, default=str))

    def known(self) -> dict[str, Any]:
        """What --json says of a command that was refused: the rollback as it is, or that nothing came to be."""
        if self.rollback is not None:
            return described(Rollback.objects.get(pk=self.rollback.pk))
        return {"state": "refused", **dict.fromkeys(self.keys), "system": self.options.get("system")}

    def left_behind(self) -> str:
        if self.rollback is None:
            return "Nothing more is done here."
        if self.options["local"]:
            return (
                f"{self.rollback} stays where it is: python manage.py carry {self.rollback.pk} takes it on from there."
            )
        return f"{self.rollback} goes on without you."

    # --- following ---

    def follow_backup(self, point: RestorePoint) -> RestorePoint:
        """Until it is verified or failed."""
        run = Run.objects.get(restore_point=point)
        return self.follow(run, lambda: RestorePoint.objects.get(pk=point.pk), lambda now: now.state not in UNDER_WAY)

    def follow_rollback(self, rollback: Rollback, *, voted_on: Plan | None = None) -> Rollback:
        """Until all its steps are verified (then it is under watch), or it has ended another way; for somebody who has
        voted, also when the vote is void: they are needed again."""
        run = Run.objects.get(rollback=rollback)
        over = [*SUCCEEDED, *ENDED, RollbackState.HELD]

        def is_over(now: Rollback) -> bool:
            is_void = now.state == RollbackState.AWAITING_APPROVAL and voted_on is not None and now.plan_now != voted_on
            return now.state in over or is_void

        return self.follow(run, lambda: Rollback.objects.get(pk=rollback.pk), is_over)

    def follow(self, run: Run, look: Callable[[], Any], is_over: Callable[[Any], bool]) -> Any:
        """Print each change, and carry the run on here when --local asks for it."""
        if self.options["local"] and run.system.host != settings.HOST:
            raise MoveRefused(
                f"{run.system} is on the host {run.system.host}, and this is {settings.HOST}: nothing of it was "
                "touched here. It waits for a worker of its host: give the command there, or start the worker there.",
                run.system,
            )
        shown: set[str] = set()
        while True:
            if self.options["local"]:
                runner.expire()
                if any(each.pk == run.pk for each in runner.due()):
                    with self.telling(run, look, shown):
                        runner.carry(run.pk)
            subject = look()
            self.show(run, subject, shown)
            if is_over(subject):
                return subject
            time.sleep(LOOK_SECONDS)

    @contextmanager
    def telling(self, run: Run, look: Callable[[], Any], shown: set[str]) -> Iterator[None]:
        """Print, from beside the work, what changes while it is done here: nobody should stare at a silent terminal."""
        ended = Event()

        def tell() -> None:
            while not ended.wait(LOOK_SECONDS):
                self.show(run, look(), shown)
            connection.close()

        teller = Thread(target=tell, name="teller", daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def show(self, run: Run, subject: Any, shown: set[str]) -> None:
        lines = [f"{subject} is {subject.get_state_display().lower()}"]
        lines += [f"  {step}: {step.get_state_display().lower()}" for step in run.steps.exclude(state="waiting")]
        if isinstance(subject, Rollback) and (bad := bad_target(subject)):
            lines.append(f"Warning: {bad.commit[:10]} {bad.mark}.")
        if isinstance(subject, Rollback) and (plan := subject.plan_now) and plan.moved:
            lines.append(f"The approval is void, because the system has changed: {'; '.join(plan.moved)}.")
        for line in lines:
            if line not in shown:
                shown.add(line)
                self.say(line)

    def warn(self, rollback: Rollback) -> None:
        """What the page shows beside the button: the target's bad mark, and what the checklist misses."""
        if bad := bad_target(rollback):
            self.say(f"Warning: {bad.commit[:10]} {bad.mark}.")
        if (listed := checklist.read(rollback)) is not None:
            self.say(listed.verdict)

    def end_rollback(self, rollback: Rollback, *, must_succeed: bool) -> None:
        """The last words, and the exit code."""
        if rollback.trouble:
            self.say(rollback.trouble)
        for line in rollback.by_hand:
            self.say(f"  $ {line}")
        self.finish(described(rollback))
        bad = [RollbackState.REFUSED, RollbackState.REVERTED, RollbackState.HELD]
        if (must_succeed and rollback.state not in SUCCEEDED) or rollback.state in bad:
            raise SystemExit(1)

    def end_backup(self, point: RestorePoint, *, must_succeed: bool) -> None:
        if point.problem:
            self.say(point.problem)
        self.finish({"tag": point.tag, "state": point.state, "system": point.system.name, "commit": point.commit})
        if must_succeed and point.state != RestorePointState.VERIFIED:
            raise SystemExit(1)


def bad_target(rollback: Rollback) -> RestorePoint | None:
    """The mark on the release that it would bring back."""
    plan = rollback.plan_now
    return RestorePoint.bad_release(rollback.system, plan.target_commit) if plan else None


def described(rollback: Rollback) -> dict[str, Any]:
    """A rollback as --json tells it."""
    entry = getattr(rollback, "log_entry", None)
    return {
        "id": rollback.pk,
        "state": rollback.state,
        "system": rollback.system.name,
        "procedure": rollback.procedure,
        "target": rollback.target,
        "incident": rollback.incident_id,
        "downtime_seconds": entry.downtime_seconds if entry else None,
        "outage_seconds": entry.outage_seconds if entry else None,
        "rollback_seconds": entry.rollback_seconds if entry else None,
        "trouble": rollback.trouble,
    }
