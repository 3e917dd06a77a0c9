"""The switch on the host: `python -m rollbacks.procedures.switcher JOURNAL TOKEN`.

A process of its own: it needs neither the database nor the broker, outlives the worker that launched it, and runs to
its end. Run again, it converges: it looks at the real state (HEAD, links, hashes, main PID) and does what is missing.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollbacks.procedures import journal
from rollbacks.tools import ToolError, command, environment, fence, files, git, probe, service
from rollbacks.tools.manifest import Service

TICK = 0.02  # seconds: a process's start is known to the kernel's tick only
STOP_SECONDS = 120.0  # a service may drain: its manager sends KILL by itself, systemd after 90 s
RESET_SECONDS = 60.0


def main(path: Path, token: int) -> None:
    """`token`: of the worker who launched us. It is not in the journal, where a predecessor's switch may write last."""
    with only_one(path.parent / "lock"):
        fence.check(path.parent.parent, token)
        written = journal.read(path)
        ready = path.with_suffix(".files")
        try:
            written["done"] = Switch(written, ready).run()
        finally:
            files.remove(ready)
        journal.write(path, written)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """A successor's switch waits here for the one that is still at work."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Switch:
    def __init__(self, written: journal.Journal, ready: Path) -> None:
        """`ready`: a folder of our own, on the system's file system, for files that only have to be renamed."""
        self.written, self.ready = written, ready
        self.goal = written["goal"]
        self.root = Path(self.goal["root"])
        self.live = Path(self.goal["live_environment"])
        self.aside = Path(self.goal["set_aside"])
        self.service = service.for_service(Service(**self.goal["service"]))

    def run(self) -> journal.Journal:
        status = self.service.status()
        if self.is_reached(status):
            files.sync(self.root)  # who did it may have been killed before
            say("already switched")
            return dict(self.written.get("done") or self.seen(status.pid))
        self.get_ready()
        stopped_at = probe.uptime()
        self.service.stop(STOP_SECONDS)  # also when it has no process: its manager may be about to start one
        stopped = probe.uptime()
        try:
            with files.synced_later():
                self.put_in_place()
        except Exception as error:
            say(f"not put in place: {error}")
            raise
        finally:
            # Whatever went wrong, a service that ran is started: a release that may be wrong beats none,
            # and the undo that follows stops it again.
            put = probe.uptime()
            if self.goal["running"]:
                self.service.start()
        pid = self.service.status().pid
        started = probe.uptime()
        files.sync(self.root)
        say(f"stopped in {stopped - stopped_at:.3f} s")
        say(f"in place in {put - stopped:.3f} s")
        say(f"started in {started - put:.3f} s")
        return {"pid": pid, "boot": probe.boot(), "stopped_at": stopped_at, "started_at": started}

    # --- with the service still up ---

    def get_ready(self) -> None:
        """What may refuse, and what waits for the disk."""
        goal = self.goal
        if goal["paths"] and not goal["back"]:
            git.check_not_moved(self.root, goal["found_commit"], goal["commit"])
        files.remove(self.ready)
        for number, (name, source) in enumerate(goal["files"].items()):
            place = self.ready / str(number)
            files.make_folder(self.ready)
            files.copy(Path(source), place, like=files.inside(self.root, name))
        if goal["logs"]:
            files.make_folder(self.aside / "logs")
            files.write(self.aside / "logs/NOTE.txt", self.note().encode())

    # --- what is put in place, in this order ---

    def put_in_place(self) -> None:
        self.put_code()
        self.put_environment()
        self.put_files()
        self.put_directories()
        self.put_logs()
        if self.goal["reset"]:
            self.reset()

    def put_code(self) -> None:
        goal = self.goal
        if goal["snapshot"]:
            git.put_back(
                self.root,
                goal["snapshot"],
                git.Head(goal["commit"], goal["branch"]),
                Path(goal["index"]).read_bytes(),
                advanced=goal["advanced"],
                aside=self.aside / "left",
                leaving=goal["unwatched"],
            )
        elif goal["paths"]:
            git.put_paths(self.root, goal["source"], goal["paths"])
            git.advance(self.root, goal["found_commit"], goal["commit"])
        elif goal["commit"]:
            if goal["uncommitted"]:  # which tracks what git did not: so that it does not stay where the release is
                git.checkout(self.root, goal["uncommitted"])
            git.checkout(self.root, goal["commit"])

    def put_environment(self) -> None:
        aside = self.aside / "environment"
        if self.goal["back"]:
            environment.switch_back(self.live, environment.Live(**self.goal["found_environment"]), aside)
        elif self.goal["environment"]:
            environment.switch(self.live, Path(self.goal["environment"]), aside)

    def put_files(self) -> None:
        """Configuration and secrets; on the way back those that were not there when it was found go again."""
        for number, (name, source) in enumerate(self.goal["files"].items()):
            target = files.inside(self.root, name)
            if not files.same(Path(source), target):
                target.parent.mkdir(parents=True, exist_ok=True)
                files.put(self.ready / str(number), target.resolve())  # a link stays one
        for name in self.goal["absent"]:
            self.set_aside(files.inside(self.root, name), "left", name)

    def set_aside(self, path: Path, *where: str) -> None:
        if path.exists() or path.is_symlink():
            files.set_aside(path, self.aside.joinpath(*where))

    def put_directories(self) -> None:
        """Artifacts by renaming; what is in the way is set aside, never deleted."""
        for name, new in self.goal["directories"].items():
            live = files.inside(self.root, name)
            if Path(new).exists():
                self.set_aside(live, "artifacts", name)
                files.move(Path(new), live)
            elif not live.exists():
                raise ToolError(f"{live} cannot be put in place: {new}, where it was staged, is gone.")
        for name, was_there in self.goal["directories_back"].items():
            live, found = files.inside(self.root, name), self.aside / "artifacts" / name
            is_aside = os.path.lexists(found)  # a relative link leads nowhere from there
            if is_aside or not was_there:
                self.set_aside(live, "undone", name)
            if is_aside:
                files.move(found, live)

    def put_logs(self) -> None:
        """Suspect logs set aside, to the note; and back."""
        for name in self.goal["logs"]:
            for path in sorted(files.inside(self.root, name).glob("*.log")):
                self.set_aside(path, "logs", name, path.name)
        for name in self.goal["logs_back"]:
            for path in sorted((self.aside / "logs" / name).glob("*.log")):
                live = files.inside(self.root, name) / path.name
                self.set_aside(live, "undone", name, path.name)
                files.move(path, live)

    def note(self) -> str:
        return (
            f"Logs of {self.root}, set aside by rollback run {self.goal['run']} when it put an earlier state in place. "
            "They tell what went wrong: read them for the post-mortem before you remove them.\n"
        )

    def reset(self) -> None:
        say(f"$ {self.goal['reset']}")
        env = command.clean_environment(path_first=self.live)
        command.run(command.owner(self.goal["reset"]), cwd=self.root, env=env, timeout=RESET_SECONDS, say=say_raw)

    # --- looking ---

    def is_reached(self, status: service.Status) -> bool:
        """Did a switch before us reach the goal? What it wrote, or (forward) a process that began after all of it."""
        if status.running != self.goal["running"] or not self.in_place():
            return False
        if self.written.get("done"):
            return True
        if self.goal["back"] or self.goal["reset"] or self.goal["logs"] or self.is_torn():
            return False
        process = probe.process(status.pid)
        if process is None or status.pid == self.written["old_pid"]:
            return False
        return self.written.get("boot") != probe.boot() or bool(process.started >= self.written["began"] - TICK)

    def is_torn(self) -> bool:
        """Has a power cut taken the content of a file? HEAD may outlive it, and so the service may come up again."""
        goal = self.goal
        ignoring = (*goal["files"], *goal["unwatched"])
        return bool(goal["commit"]) and git.differs(self.root, goal["commit"], only=goal["paths"], ignoring=ignoring)

    def seen(self, pid: int) -> journal.Journal:
        """What a switch that was cut short before its last line would have written."""
        process = probe.process(pid)
        began = process.started if process else probe.uptime()
        return {"pid": pid, "boot": probe.boot(), "stopped_at": began, "started_at": began}

    def in_place(self) -> bool:
        """Are code, environment, files and artifacts there?"""
        goal = self.goal
        wanted = goal["environment"]
        put = all(files.same(Path(source), self.root / name) for name, source in goal["files"].items())
        gone = not any((self.root / name).exists() for name in goal["absent"])
        linked = not wanted or self.live.resolve() == Path(wanted).resolve()
        moved = not any(Path(new).exists() for new in goal["directories"].values())
        back = not any(os.path.lexists(self.aside / "artifacts" / name) for name in goal["directories_back"])
        code = not goal["commit"] or git.head(self.root).commit == goal["commit"]
        return put and gone and linked and moved and back and code


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def say_raw(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except ToolError as error:
        say(str(error))
        sys.exit(1)
