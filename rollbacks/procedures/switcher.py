"""The switch on the host: `python -m rollbacks.procedures.switcher JOURNAL TOKEN`.

A process of its own: it needs neither the database nor the broker, outlives the worker that launched it, and runs to
its end. Run again, it converges: it looks at the real state (HEAD, links, hashes, main PID) and does what is missing.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollbacks.procedures import journal
from rollbacks.tools import ToolError, environment, fence, files, git, probe, service
from rollbacks.tools.manifest import Service

TICK = 0.02  # seconds: a process's start is known to the kernel's tick only
STOP_SECONDS = 30.0  # the service manager sends KILL by itself long before


def main(path: Path, token: int) -> None:
    """`token`: of the worker who launched us. It is not in the journal, where a predecessor's switch may write last."""
    with only_one(path.parent / "lock"):
        fence.check(path.parent.parent, token)
        written = journal.read(path)
        written["done"] = Switch(written).run()
        journal.write(path, written)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """A successor's switch waits here for the one that is still at work."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Switch:
    def __init__(self, written: journal.Journal) -> None:
        self.written = written
        self.goal = written["goal"]
        self.root = Path(self.goal["root"])
        self.live = Path(self.goal["live_environment"])
        self.service = service.for_service(Service(**self.goal["service"]))

    def run(self) -> journal.Journal:
        status = self.service.status()
        if self.is_reached(status):
            files.sync(self.root)  # who did it may have been killed before
            say("already switched")
            return dict(self.written.get("done") or self.seen(status.pid))
        stopped_at = time.time()
        self.service.stop(STOP_SECONDS)  # also when it has no process: its manager may be about to start one
        stopped = time.time()
        try:
            self.put_in_place()
        except Exception as error:
            say(f"not put in place: {error}")
            raise
        finally:
            # Whatever went wrong, a service that ran is started: a release that may be wrong beats none,
            # and the undo that follows stops it again.
            put = time.time()
            if self.goal["running"]:
                self.service.start()
        pid = self.service.status().pid
        started = time.time()
        files.sync(self.root)
        say(f"stopped in {stopped - stopped_at:.3f} s")
        say(f"in place in {put - stopped:.3f} s")
        say(f"started in {started - put:.3f} s")
        return {"pid": pid, "stopped_at": stopped_at, "started_at": started}

    def put_in_place(self) -> None:
        self.put_code()
        self.put_environment()
        for name, source in self.goal["config"].items():
            target = files.inside(self.root, name)
            if not same(Path(source), target):
                target.parent.mkdir(parents=True, exist_ok=True)
                files.copy(Path(source), target.resolve())  # a link stays one
        for name in self.goal["absent"]:
            target = files.inside(self.root, name)
            if target.is_file():
                files.set_aside(target, Path(self.goal["left"]) / name)

    def put_code(self) -> None:
        if self.goal["snapshot"]:
            head = git.Head(self.goal["commit"], self.goal["branch"])
            index = Path(self.goal["index"]).read_bytes()
            left, unwatched = Path(self.goal["left"]), self.goal["unwatched"]
            git.put_back(self.root, self.goal["snapshot"], head, index, aside=left, leaving=unwatched)
        else:
            git.checkout(self.root, self.goal["commit"], self.goal["branch"])

    def put_environment(self) -> None:
        aside = Path(self.goal["set_aside"])
        if self.goal["snapshot"]:
            environment.switch_back(self.live, environment.Live(**self.goal["found_environment"]), aside)
        elif self.goal["environment"]:
            environment.switch(self.live, Path(self.goal["environment"]), aside)

    def is_reached(self, status: service.Status) -> bool:
        """Did a switch before us reach the goal? What it wrote, or (forward) a process that began after all of it."""
        if status.running != self.goal["running"] or not self.in_place():
            return False
        if self.written.get("done"):
            return True
        if self.goal["snapshot"] or self.is_torn():
            return False
        process = probe.process(status.pid)
        since = self.written["began"] - TICK
        return bool(status.pid != self.written["old_pid"] and process and process.started_at >= since)

    def is_torn(self) -> bool:
        """Has a power cut taken the content of a file? HEAD may outlive it, and so the service may come up again."""
        others = [*self.goal["config"], *self.goal["unwatched"]]
        changed = [Path(each.path) for each in git.uncommitted(self.root) if each.kind != "untracked"]
        return any(not any(path.is_relative_to(other) for other in others) for path in changed)

    def seen(self, pid: int) -> journal.Journal:
        """What a switch that was cut short before its last line would have written."""
        process = probe.process(pid)
        began = process.started_at if process else self.written["began"]
        return {"pid": pid, "stopped_at": began, "started_at": began}

    def in_place(self) -> bool:
        """Are code, environment and configuration there?"""
        wanted = self.goal["environment"]
        config = all(same(Path(source), self.root / name) for name, source in self.goal["config"].items())
        config = config and not any((self.root / name).is_file() for name in self.goal["absent"])
        linked = not wanted or self.live.resolve() == Path(wanted).resolve()
        return config and linked and git.head(self.root).commit == self.goal["commit"]


def same(one: Path, other: Path) -> bool:
    """The same content and mode."""
    return (
        one.is_file()
        and other.is_file()
        and one.stat().st_mode == other.stat().st_mode
        and files.sha256(one) == files.sha256(other)
    )


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except ToolError as error:
        say(str(error))
        sys.exit(1)
