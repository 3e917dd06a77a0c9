"""The live stream, as an open page gets it: from a real ASGI server, while other things write to the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from itertools import pairwise
from threading import Thread, get_ident
from typing import Any

import pytest
import uvicorn
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import Client

from incidents import actions as incidents
from incidents.models import Incident
from portal import views
from portal.asgi import application
from portal.ledger.models import record
from rollbacks import runner
from rollbacks.models import HealthChange, Rollback, Run, Step, StepOutput, System
from rollbacks.tools import probe

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 20.0  # seconds until a test gives up


class Page:
    """An open page: what it hears."""

    def __init__(self, response: HTTPResponse) -> None:
        self.response = response

    def line(self) -> str:
        """The next line that says something; "" when the stream has ended."""
        while (line := self.response.readline().decode()) == "\n":
            pass
        return line.rstrip("\n")

    def change(self) -> str:
        """The marker of the next "change"."""
        line = self.line()
        while line.startswith((":", "retry:")):
            line = self.line()
        assert line == "event: change"
        return self.line().removeprefix("data: ")


class Server:
    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def opened(self, client: Client | None) -> Iterator[Page]:
        """The stream, asked for with the cookies of this browser."""
        link = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        cookies = client.cookies.output(header="", sep=";") if client else ""
        link.request("GET", "/live/", headers={"Cookie": cookies})
        try:
            yield Page(link.getresponse())
        finally:
            link.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)  # so that the test's database can be dropped
    monkeypatch.setattr(views, "pulse", views.Pulse())
    words: dict[str, Any] = {"lifespan": "off", "log_level": "error", "timeout_graceful_shutdown": 1}
    running = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, **words))
    thread = Thread(target=running.run, daemon=True)
    thread.start()
    wait_until(lambda: running.started)
    yield Server(running.servers[0].sockets[0].getsockname()[1])
    running.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the server ends although pages are open"
    views.LOOKER.submit(connections.close_all).result(PATIENCE)


@pytest.fixture
def browser(client_for: Callable[[User], Client], oncall: User) -> Client:
    return client_for(oncall)


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_open_page_is_told_of_everything_that_it_may_show(
    server: Server, browser: Client, approved: Rollback, incident: Incident, oncall: User
) -> None:
    system = approved.system
    step = Step.objects.create(run=approved.run, number=1, name="try", title="Try it")

    def write_a_row() -> None:
        with transaction.atomic():
            record(system, "look", by=oncall)

    happenings: dict[str, Callable[[], object]] = {
        "a ledger row": write_a_row,
        "a piece of a step's output": lambda: StepOutput.objects.create(step=step, text="3 passed\n"),
        "a change of health": lambda: runner.look(system, probe.Health(False, True, 500, 3.0, "500")),
        "a line of a timeline": lambda: incidents.note(incident.pk, by=oncall, text="Looking"),
        "a claim": lambda: runner.claim(approved.run.pk),
        "a step that begins": lambda: Step.objects.filter(pk=step.pk).update(state="running"),
    }
    with server.opened(browser) as page:
        seen = [page.change()]
        for what, happens in happenings.items():
            happens()
            began = time.monotonic()
            seen.append(page.change())
            assert time.monotonic() - began < 2, what  # 0.3 s, and room for a machine that is busy
    assert len(set(seen)) == len(happenings) + 1, "each says something new"


def test_the_downtime_clock_is_told_of(server: Server, browser: Client, approved: Rollback) -> None:
    Rollback.objects.update(state="running")
    with server.opened(browser) as page:
        before = page.change()
        Run.objects.update(measured={"down_before": 0.0, "down_since": 1770000000.0})
        assert page.change() != before


def test_where_nothing_happens_nothing_is_told_but_that_it_is_still_there(
    server: Server, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PING_SECONDS", 0.2)
    with server.opened(browser) as page:
        headers = {
            name: page.response.getheader(name) for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering")
        }
        assert headers == {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        assert page.line() == "retry: 1000", "a lost connection is tried again after a second"
        page.change()
        assert [page.line(), page.line()] == [": still here", ": still here"]


def test_it_ends_so_that_the_page_is_asked_again_who_it_is(
    server: Server, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "STREAM_SECONDS", 0.3)
    with server.opened(browser) as page:
        page.change()
        assert page.line() == ""
    browser.logout()
    with server.opened(browser) as page:
        assert page.response.status == 302


def test_nobody_listens_without_signing_in(server: Server, oncall: User) -> None:
    with server.opened(None) as page:
        assert page.response.status == 302
        assert page.response.getheader("Location") == "/accounts/login/?next=/live/"
        assert b"event:" not in page.response.read()


def test_a_page_that_was_closed_is_forgotten(server: Server, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look() -> str:
        looks.append(time.monotonic())
        return "marker"

    monkeypatch.setattr(views, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(views, "look", look)
    with server.opened(browser) as page:
        page.change()
        wait_until(lambda: len(looks) > 3)

    def stands_still() -> bool:
        before = len(looks)
        time.sleep(0.3)  # six looks
        return len(looks) == before

    wait_until(stands_still)


def test_many_pages_ask_the_database_once(server: Server, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are open: one look each tenth of a second, by one thread, which has one connection."""
    lookers: set[int] = set()
    marks: list[float] = []
    look = views.look

    def looking() -> str:
        lookers.add(get_ident())
        return look()

    def marker() -> str:
        marks.append(time.monotonic())
        return "marker"

    monkeypatch.setattr(views, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(views, "look", looking)
    monkeypatch.setattr(views, "marker", marker)
    with ExitStack() as opened:
        for _ in range(5):
            opened.enter_context(server.opened(browser)).change()
        wait_until(lambda: len(marks) > 10)
    assert len(lookers) == 1
    assert min(later - sooner for sooner, later in pairwise(marks)) >= 0.09


def test_wrong_method(browser: Client) -> None:
    assert browser.post("/live/").status_code == 405


def test_a_page_that_connects_late_looks_at_once(server: Server, browser: Client, system: System) -> None:
    """It may have missed something."""
    HealthChange.objects.create(system=system, health="unhealthy")
    with server.opened(browser) as first, server.opened(browser) as second:
        assert first.change() == second.change()
