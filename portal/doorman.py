"""Before Django: it reads a whole message, however large, before a view can say no (into a file, so that it is not the
memory that runs out, but the disk). At the door for other tools nobody has shown a token yet, so that nothing large
is read there at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
DOOR = "/in/"
LIMIT = 1024 * 1024  # bytes
SAID = b'{"error": "The message is larger than 1 MB."}'


class Doorman:
    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(DOOR):
            return await self.application(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > LIMIT:
            return await too_large(send)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None  # they have hung up
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LIMIT:
                return await too_large(send)
        return await self.application(scope, again(body, receive), send)


def again(body: bytes, receive: Receive) -> Receive:
    """What was read already, once; then whatever comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Mapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return read


async def too_large(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": SAID})
