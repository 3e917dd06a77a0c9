"""What every page carries, and what no page may hold: the policy allows no inline script, style or handler."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, RequestFactory

from incidents import actions
from portal.middleware import RefusedMoveMiddleware
from rollbacks.models import NoMatrix

ClientFor = Callable[[User], Client]
INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")|<style|\sstyle=|\son[a-z]+=\"", re.I)


@pytest.fixture
def pages(oncall: User) -> list[str]:
    incident = actions.declare(by=oncall, title="Checkout answers 500", severity="high", scope="multiple")
    pages = ["/", "/incidents/", f"/incidents/{incident.pk}/", "/incidents/declare/", "/contacts/", "/no-such-page/"]
    return [*pages, "/systems/", "/log/", "/accounts/password/change/", "/accounts/logout/"]


def test_every_page(client_for: ClientFor, pages: list[str], oncall: User) -> None:
    client = client_for(oncall)
    for path in pages:
        response = client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in response.headers["Permissions-Policy"]
        assert not INLINE.search(response.content.decode()), path
        assert not re.search(r"(src|href)=\"(https?:)?//", response.content.decode()), path


def test_the_door(client: Client, db: None) -> None:
    response = client.get("/accounts/login/")
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert not INLINE.search(response.content.decode())


def test_the_admin_still_works(client_for: ClientFor, oncall: User) -> None:
    User.objects.filter(pk=oncall.pk).update(is_staff=True, is_superuser=True)
    client = client_for(oncall)
    for path in ("/admin/", "/admin/ledger/ledger/", "/admin/incidents/emergencycontact/add/", "/admin/auth/user/"):
        response = client.get(path)
        assert response.status_code == 200
        assert "Content-Security-Policy" in response.headers
        assert not INLINE.search(response.content.decode()), path


def test_a_form_from_another_site(oncall: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(oncall)
    response = client.post("/incidents/declare/", {"title": "x", "severity": "low", "scope": "config"})
    assert response.status_code == 403
    assert "The form was too old" in response.content.decode()
    assert "Content-Security-Policy" in response.headers


def test_cookies(client: Client, oncall: User) -> None:
    oncall.set_password("a long enough one")
    oncall.save()
    client.post("/accounts/login/", {"login": "oncall", "password": "a long enough one"})
    session = client.cookies["portal_session"]
    assert session["httponly"]
    assert session["samesite"] == "Lax"


@pytest.mark.django_db(transaction=True)
def test_the_live_stream_stays_a_stream(oncall: User) -> None:
    """Under all of the middleware it is still asynchronous, and says something at once."""

    async def listen() -> tuple[dict[str, str], bytes, bytes]:
        client = AsyncClient()
        await client.aforce_login(oncall)
        response = await client.get("/live/")
        assert response.is_async  # type: ignore[attr-defined]
        parts = aiter(response.streaming_content)  # type: ignore[attr-defined]
        heard = await anext(parts), await anext(parts)
        await parts.aclose()
        return dict(response.headers), *heard

    headers, first, second = async_to_sync(listen)()
    assert headers["Content-Type"] == "text/event-stream"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache", "no")
    assert "Content-Security-Policy" in headers
    assert first == b"retry: 1000\n\n"
    assert second.startswith(b"event: change\ndata: ")


def test_the_live_stream_wants_a_person(db: None) -> None:
    response = async_to_sync(AsyncClient().get)("/live/")
    assert (response.status_code, response.headers["Location"]) == (302, "/accounts/login/?next=/live/")


def test_without_a_matrix_the_page_says_what_to_do(rf: RequestFactory, oncall: User) -> None:
    request = rf.post("/systems/agents/roll-back/")
    request.user = oncall
    response = RefusedMoveMiddleware(lambda request: None).process_exception(request, NoMatrix())  # type: ignore[arg-type]
    assert response is not None
    assert response.status_code == 409
    assert "There is no decision matrix yet" in response.content.decode()
