"""A signed-in reader of the pages: HTTP over one kept connection, as a browser does it, with the cookies kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlencode

PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Page:
    status: int
    text: str
    location: str


class Reader:
    """`Reader(port, "oncall")`: signed in with one click, as the demo mode offers it."""

    def __init__(self, port: int, username: str) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}
        self.connection = self.connect()
        form = self.get("/accounts/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        assert token, form.text
        came = self.post("/demo/sign-in/", username=username, csrfmiddlewaretoken=token[1])
        assert came.location == "/", came

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def get(self, path: str) -> Page:
        return self.ask(self.connection, "GET", path)

    def post(self, path: str, **words: str) -> Page:
        return self.ask(self.connection, "POST", path, urlencode(words))

    def ask(self, connection: HTTPConnection, method: str, path: str, body: str | None = None) -> Page:
        response = self.begin(connection, method, path, body)
        text = response.read().decode()
        for said in response.headers.get_all("Set-Cookie", []):
            name, _, value = said.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Page(response.status, text, response.headers.get("Location", ""))

    def begin(self, connection: HTTPConnection, method: str, path: str, body: str | None = None) -> HTTPResponse:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        return connection.getresponse()

    @contextmanager
    def live(self) -> Iterator[Iterator[str]]:
        """The stream of changes, on a connection of its own: the data of each "change" as it comes."""
        connection = self.connect()
        response = self.begin(connection, "GET", "/live/")
        assert response.status == 200
        try:
            yield (line[6:].strip().decode() for line in iter(response.readline, b"") if line.startswith(b"data: "))
        finally:
            connection.close()
