"""Asks a service every 5 ms, from a thread of its own, and counts the seconds in which it refuses to answer."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

EVERY = 0.005  # seconds
PATIENCE = 2.0  # seconds for one answer


@dataclass(frozen=True)
class Answer:
    asked: float  # time.time()
    status: int  # 0: refused, closed or too late
    release: str


class Asking:
    """`with Asking(port) as asking:`; then asking.refused(since) and asking.wait_healthy(release)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[Answer] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.ask_on, name="asking", daemon=True)

    def __enter__(self) -> Asking:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join()

    def ask_on(self) -> None:
        began = time.monotonic()
        while not self.ended.is_set():
            asked = time.time()
            self.answers.append(Answer(asked, *self.ask()))
            time.sleep(EVERY - (time.monotonic() - began) % EVERY)

    def ask(self) -> tuple[int, str]:
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                said = b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return 0, ""
        head, _, body = said.partition(b"\r\n\r\n")
        words = head.split(maxsplit=2)
        if len(words) < 2 or not words[1].isdigit():
            return 0, ""
        return int(words[1]), str(read(body).get("release", ""))

    def refused(self, since: float) -> float:
        """Seconds without an answer. One that came not counts until the next question."""
        seen = [answer for answer in list(self.answers) if answer.asked >= since]
        pairs = itertools.pairwise(seen)
        return sum(later.asked - answer.asked for answer, later in pairs if not answer.status)

    def wait_healthy(self, release: str, since: float, seconds: float = 60) -> float:
        """When it first answered well, with that release (time.time()). AssertionError when it does not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for answer in list(self.answers):
                if answer.asked >= since and answer.status == 200 and answer.release == release:
                    return answer.asked
            time.sleep(0.02)
        raise AssertionError(f"release {release} is not healthy after {seconds:.0f} s: {self.answers[-1]}")


def read(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
