"""RefusedMoveMiddleware: who comes second is told, wherever they come from, and never sent round in circles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from incidents import actions
from incidents.models import Incident
from portal.ledger.moves import MoveRefused
from portal.middleware import RefusedMoveMiddleware


@pytest.fixture
def incident(oncall: User) -> Incident:
    return actions.declare(by=oncall, title="Checkout answers 500", severity="high", scope="multiple")


def answer(request: HttpRequest, error: Exception) -> HttpResponse | None:
    request.session = {}  # type: ignore[assignment]
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return RefusedMoveMiddleware(lambda request: HttpResponse()).process_exception(request, error)


def test_a_page_is_brought_back(rf: RequestFactory, incident: Incident) -> None:
    request = rf.post("/somewhere/", {"note": "All of this"})
    response = answer(request, MoveRefused("Too late.", incident))
    assert response is not None
    assert (response.status_code, response.headers["Location"]) == (302, incident.get_absolute_url())
    assert [str(message) for message in get_messages(request)] == ["Too late. You had written: “All of this”"]


def test_htmx_is_sent_there(rf: RequestFactory, incident: Incident) -> None:
    request: Any = rf.post("/somewhere/")
    request.htmx = True
    response = answer(request, MoveRefused("Too late.", incident))
    assert response is not None
    assert response.headers["HX-Redirect"] == incident.get_absolute_url()


def test_no_circles(rf: RequestFactory, incident: Incident, oncall: User) -> None:
    url = incident.get_absolute_url()
    for request, obj in (
        (rf.get(url), incident),
        (rf.post(url), incident),
        (rf.post("/x/"), None),
        (rf.post("/x/"), oncall),
    ):
        request.user = oncall
        response = answer(request, MoveRefused("Not <now>.", obj if isinstance(obj, Incident) else None))
        assert response is not None
        assert response.status_code == 409
        assert "Not &lt;now&gt;." in response.content.decode()


def test_other_errors_are_not_its_business(rf: RequestFactory) -> None:
    assert answer(rf.post("/x/"), ValueError("x")) is None


def test_500_needs_no_request(client_for: Callable[[User], Client], oncall: User, monkeypatch: Any) -> None:
    monkeypatch.setattr("incidents.views.FilterForm", None)
    client = client_for(oncall)
    client.raise_request_exception = False
    response = client.get("/incidents/")
    assert response.status_code == 500
    assert "The portal failed to show this page" in response.content.decode()
