"""What is too large is refused at the door, before it has been read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from portal.doorman import LIMIT, Doorman

MB = b"x" * 1024 * 1024


class Caller:
    """Sends a message in pieces, and counts how many of them were asked for."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.asked = 0
        self.sent: list[Mapping[str, Any]] = []

    async def receive(self) -> Mapping[str, Any]:
        self.asked += 1
        return {"type": "http.request", "body": self.pieces[self.asked - 1], "more_body": self.asked < len(self.pieces)}

    async def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Stands for Django: reads all, and says how much it was."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(length).encode()})


def ask(pieces: list[bytes], path: str = "/in/watch/", length: bytes | None = None) -> Caller:
    caller = Caller(pieces)
    headers = [] if length is None else [(b"content-length", length)]
    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(Doorman(inner)(scope, caller.receive, caller.send))
    return caller


def test_a_message_passes_whole() -> None:
    assert ask([b"{", b"}"]).sent[-1]["body"] == b"2"
    assert ask([MB], length=str(LIMIT).encode()).sent[0]["status"] == 200


@pytest.mark.parametrize("length", [b"10485760", b"-1", b"x"])
def test_what_says_that_it_is_too_large_is_not_read(length: bytes) -> None:
    caller = ask([MB] * 10, length=length)
    assert (caller.sent[0]["status"], caller.asked) == (413, 0)
    assert json.loads(caller.sent[1]["body"]) == {"error": "The message is larger than 1 MB."}


def test_what_does_not_say_is_read_no_further_than_the_limit() -> None:
    caller = ask([MB] * 10)
    assert (caller.sent[0]["status"], caller.asked) == (413, 2)


def test_elsewhere_nobody_is_at_the_door() -> None:
    assert ask([MB] * 3, path="/systems/add/").sent[-1]["body"] == str(3 * len(MB)).encode()
