"""The door for other tools: POST /in/<source>/. It is here, and not with the incidents, because an alert may name a
system. Nobody is signed in; the source's token says who knocks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from incidents import arriving
from incidents.arrivals import PARSERS, NotUnderstood
from incidents.models import Alert, Source
from incidents.views import bearer
from rollbacks import actions

LIMIT = 1024 * 1024  # bytes of a message
NOBODY = Source(token_hash=hashlib.sha256(b"").hexdigest())  # compared with when there is no such source


class Refused(Exception):
    """What the tool is told, and with which status."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


@csrf_exempt
@login_not_required
@require_POST
def arrive(request: HttpRequest, name: str, token: str = "") -> JsonResponse:
    address = request.META.get("REMOTE_ADDR", "")
    source = Source.objects.filter(name=name).first()
    try:
        known = let_in(source, token or bearer(request), address)
        found = PARSERS[known.kind](payload(request))
    except (Refused, NotUnderstood) as error:
        if source is not None and getattr(error, "status", 0) != 429:
            arriving.refuse(source, address, str(error))
        return answer(getattr(error, "status", 422), {"error": str(error)})
    alerts = [actions.arrive(known, each) for each in found]
    return answer(200, {"incidents": [said_of(request, alert) for alert in alerts if alert is not None]})


def said_of(request: HttpRequest, alert: Alert) -> dict[str, Any]:
    url = request.build_absolute_uri(alert.incident.get_absolute_url())
    return {"id": alert.incident_id, "url": url, "new": alert.count == 1 and alert.firing}


def let_in(source: Source | None, token: str, address: str) -> Source:
    """Raises Refused. A right token is never kept out by the wrong ones of others behind the same address."""
    if not (source or NOBODY).has_token(token) or source is None:
        if arriving.knock(f"wrong {address}") > arriving.WRONG_A_MINUTE:
            raise Refused(429, "Too many wrong tokens from this address. Wait a minute.")
        raise Refused(401, "The token is missing or wrong. It belongs in the header: Authorization: Bearer <token>.")
    if not source.enabled:
        raise Refused(403, "This source is switched off in the portal.")
    if arriving.knock(f"{source.pk} {address}") > arriving.A_MINUTE:
        raise Refused(429, f"More than {arriving.A_MINUTE} messages in a minute. Wait a minute.")
    return source


def payload(request: HttpRequest) -> dict[str, Any]:
    """Raises Refused. No more is read than may be kept."""
    kind = request.content_type or ""
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refused(415, f"Expected JSON (Content-Type: application/json), not {kind or 'nothing'}.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    too_large = not length.isdecimal() or int(length) > LIMIT
    body = b"" if too_large else request.read(LIMIT + 1)
    if too_large or len(body) > LIMIT:
        raise Refused(413, "The message is larger than 1 MB.")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "This is no JSON.") from None
    if not isinstance(given, dict):
        raise Refused(400, "Expected a JSON object: {…}.")
    return given


def answer(status: int, said: dict[str, Any]) -> JsonResponse:
    headers = {429: {"Retry-After": "60"}, 401: {"WWW-Authenticate": "Bearer"}}.get(status, {})
    return JsonResponse(said, status=status, headers=headers)
