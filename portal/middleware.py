from __future__ import annotations

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.deprecation import MiddlewareMixin
from django_htmx.http import HttpResponseClientRedirect

from portal.ledger.moves import MoveRefused
from rollbacks.models import NoMatrix

# No inline script and no inline style anywhere: text that slipped through an escape still cannot run. The Django admin
# keeps to this too.
POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


# What no page of the portal asks a browser for, no page may get.
FEATURES = ", ".join(f"{feature}=()" for feature in ("camera", "geolocation", "microphone", "payment", "usb"))


class ContentSecurityMiddleware(MiddlewareMixin):
    """Referrer-Policy, nosniff and the rest are SecurityMiddleware's."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", FEATURES)
        return response


class RefusedMoveMiddleware(MiddlewareMixin):
    """Who comes second is told so, on the page of the thing, with what they had typed. (NotAllowed needs nothing here:
    it is a PermissionDenied, and 403.html shows its words.)"""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, NoMatrix):
            return render(request, "409.html", {"said": str(error)}, status=409)
        if not isinstance(error, MoveRefused):
            return None
        url = page_of(error.obj)
        if request.method != "POST" or not url or url == request.path:
            # Redirecting a GET could go round in circles: the page of the thing may be the one that refused.
            return render(request, "409.html", {"said": str(error), "obj": error.obj, "url": url}, status=409)
        typed = request.POST.get("note", "").strip()
        messages.warning(request, f"{error} You had written: “{typed}”" if typed else str(error))
        return HttpResponseClientRedirect(url) if getattr(request, "htmx", False) else redirect(url)


def page_of(obj: Model | None) -> str:
    """Where the thing is shown; "" for nothing, and for a thing without a page."""
    return str(obj.get_absolute_url()) if obj is not None and hasattr(obj, "get_absolute_url") else ""
