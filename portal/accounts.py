"""Signing in: no sign-up, and one click for the demo accounts on one's own machine."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import ResetPasswordForm
from allauth.account.views import PasswordResetView
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.utils.http import url_has_allowed_host_and_scheme

FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_VIA")


class NoSignUp(DefaultAccountAdapter):
    """Accounts are made in the admin, by somebody who knows the person."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class QuietResetForm(ResetPasswordForm):
    """allauth invites an unknown address to sign up. Here nobody can, so that it gets no mail."""

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        if not self.users:
            return str(self.cleaned_data["email"])
        return str(super().save(request, **kwargs))


class QuietResetView(PasswordResetView):
    form_class = QuietResetForm


# --- the demo -------------------------------------------------------------------------------------------------------


def demo_accounts(request: HttpRequest) -> list[dict[str, str]]:
    """Who may be signed in with one click: what `seed --demo` wrote down. Nobody, outside the demo mode."""
    file = settings.HOME / "demo-accounts.json"
    if not settings.DEMO or not is_this_machine(request) or not file.exists():
        return []
    accounts: list[dict[str, str]] = json.loads(file.read_text())
    return accounts


def is_this_machine(request: HttpRequest) -> bool:
    """Asked from this machine, by its own name, and not through a proxy."""
    host = request.get_host().rsplit(":", 1)[0] if not request.get_host().endswith("]") else request.get_host()
    try:
        near = ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return near and host in settings.LOOPBACK and not any(name in request.META for name in FORWARDED)


@login_not_required
def demo_sign_in(request: HttpRequest) -> HttpResponse:
    """Outside the demo mode it looks as if there were no such page."""
    accounts = demo_accounts(request)
    if not accounts:
        raise Http404
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    username = request.POST.get("username", "")
    if username not in {account["username"] for account in accounts}:
        raise Http404
    user = get_object_or_404(User, username=username, is_active=True)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    wanted = request.POST.get("next", "")
    return redirect(wanted if url_has_allowed_host_and_scheme(wanted, None) else settings.LOGIN_REDIRECT_URL)
