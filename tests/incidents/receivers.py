"""Who takes messages in the tests: a real SMTP server and a real HTTP receiver, in threads of their own."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd says every word of SMTP


class Mailbox:
    """Keeps what arrives; `answer` is what it says instead of 250, when it is set."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer = ""
        self.port = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 — aiosmtpd's name
        if self.answer:
            return self.answer
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def to(self) -> list[str]:  # no property: aiosmtpd would ask for it at every connection, the longer the more mails
        return sorted(mail["To"] for mail in self.mails)


@contextmanager
def mail_server(port: int = 0) -> Iterator[Mailbox]:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port or free_port())
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()


def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as taken:
        return int(taken.server_address[1])


class Hook:
    """An HTTP receiver that keeps what is posted and which paths are asked for, and answers `status`."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.status = 200
        self.port = 0


@contextmanager
def http_receiver() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.said.append(json.loads(body))
            self.send_response(hook.status)
            self.end_headers()
            self.wfile.write(b"hook-secret-token was not right")

        def do_GET(self) -> None:
            hook.asked.append(self.path)
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = int(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
