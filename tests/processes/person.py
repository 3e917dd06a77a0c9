"""A person at the portal's pages, over HTTP."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, Request, build_opener

PATIENCE = 60.0  # seconds: how long a page took is for the test to judge


class Person:
    """Signed in with one click, as the demo lets."""

    def __init__(self, url: str, username: str) -> None:
        self.url = url
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self.token = ""
        self.get("/accounts/login/")
        self.post("/demo/sign-in/", username=username)
        self.get("/contacts/")  # signing in gives a new token

    def get(self, path: str) -> str:
        return self.ask(Request(urljoin(self.url, path)))

    def post(self, path: str, **fields: str) -> str:
        """The page that is shown after it."""
        words = urlencode({**fields, "csrfmiddlewaretoken": self.token}).encode()
        return self.ask(Request(urljoin(self.url, path), data=words))

    def ask(self, request: Request) -> str:
        with self.opener.open(request, timeout=PATIENCE) as answer:
            page = str(answer.read().decode())
        if found := re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page):
            self.token = found[1]
        return page
