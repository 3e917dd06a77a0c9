"""The only code of this floor that touches the outside: one message to one address, by mail or by Apprise.

Nothing here asks the database, so it may run in a thread. What a provider answers is masked before it is handed on: an
Apprise address holds tokens, and providers repeat them.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading
import urllib.parse
from dataclasses import dataclass
from typing import Any

import apprise
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from incidents.models.notification import Way

ASSET = apprise.AppriseAsset(
    http_redirects=False, async_mode=False, app_id="Portal", app_desc="Incidents and rollbacks"
)
ON_THIS_HOST = {"syslog", "dbus", "qt", "kde", "glib", "gnome", "macosx", "windows"}  # they reach no person
LONGEST = 300  # characters of what a provider said


class Refused(Exception):
    """This address is not sent to; the message says why, and what helps."""


class NotTaken(Exception):
    """The provider did not take the message; the text is masked."""


@dataclass(frozen=True)
class Letter:
    """What goes out: plain values, for a thread."""

    number: int  # of the notification: the same mail sent twice has the same Message-ID, and most readers show it once
    way: str
    address: str
    subject: str
    text: str


def send(letter: Letter) -> None:
    """Raises NotTaken, Refused."""
    if letter.way == Way.EMAIL:
        mail(letter)
    else:
        push(letter)


def mail(letter: Letter) -> None:
    host = urllib.parse.urlsplit(settings.PORTAL_URL).hostname or "portal"
    message = EmailMessage(
        subject=" ".join(letter.subject.split()),
        body=letter.text,
        to=[letter.address],
        headers={"Message-ID": f"<notification-{letter.number}@{host}>", "Auto-Submitted": "auto-generated"},
        connection=get_connection(timeout=settings.NOTIFY_SECONDS),
    )
    try:
        message.send()
    except (OSError, ValueError) as error:  # smtplib's errors are OSErrors
        raise NotTaken(f"{type(error).__name__}: {masked(str(error), '')}") from error


def push(letter: Letter) -> None:
    plugin = understood(letter.address)
    check_network(plugin)
    heard = Heard()
    LOG.addHandler(heard)
    try:
        taken = plugin.notify(title=letter.subject, body=letter.text, body_format=apprise.NotifyFormat.TEXT)
    except Exception as error:  # a plugin may raise what it likes
        raise NotTaken(masked(f"{type(error).__name__}: {error}", letter.address)) from error
    finally:
        LOG.removeHandler(heard)
    if not taken:
        raise NotTaken(masked(" ".join(heard.lines) or "the service did not take it", letter.address))


# --- addresses ------------------------------------------------------------------------------------------------------


def understood(address: str) -> Any:
    """The Apprise plugin of an address. Raises Refused."""
    scheme = address.partition("://")[0].lower()
    if scheme in ON_THIS_HOST:
        raise Refused(f"{scheme}:// writes on the portal's own host: it reaches nobody.")
    plugin = apprise.Apprise.instantiate(address, asset=ASSET, suppress_exceptions=True)
    if plugin is None:
        raise Refused("Apprise does not understand this address. Compare it with Apprise's page on the service.")
    plugin.socket_connect_timeout = plugin.socket_read_timeout = settings.NOTIFY_SECONDS
    return plugin


def check_network(plugin: Any) -> None:
    """Raises Refused for a host inside the portal's own network, unless the settings allow it. Asked when an address is
    saved and again at every send: a name may meanwhile point elsewhere."""
    if settings.NOTIFY_PRIVATE_OK:
        return
    named = any("{host}" in template for template in getattr(plugin, "templates", ()))
    hosts = [getattr(plugin, "smtp_host", ""), getattr(plugin, "host", "") if named else ""]
    for host in filter(None, hosts):  # in this order: it is the first that is connected to
        if any(not is_public(address) for address in addresses_of(host)):
            raise Refused(
                "The address points into the portal's own network. Nothing is sent there. Who runs the portal can "
                "allow it with NOTIFY_PRIVATE_OK=on."
            )


def addresses_of(host: str) -> list[str]:
    """Raises Refused for a name that nobody knows."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), None)]
    except (OSError, UnicodeError) as error:
        raise Refused("Nobody knows the host of the address.") from error


def is_public(address: str) -> bool:
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped:
        known = known.ipv4_mapped
    return known.is_global and not known.is_multicast


def destination(way: str, address: str) -> str:
    """Who is asked to take it: what hangs there must not keep others waiting."""
    return "mail" if way == Way.EMAIL else address.partition("://")[0] + urllib.parse.urlsplit(address).netloc


# --- what was heard -------------------------------------------------------------------------------------------------


LOG = logging.getLogger("apprise")


class Heard(logging.Handler):
    """What Apprise said in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.lines = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.lines.append(record.getMessage())


def masked(said: str, address: str) -> str:
    """What was said, without any part of the address but its service."""
    _, _, rest = address.partition("://")
    pieces = {piece for text in (rest, urllib.parse.unquote(rest)) for piece in re.split(r"[/:@?&=,#;\s]+", text)}
    for piece in sorted([address, rest, *pieces], key=len, reverse=True):
        if len(piece) >= 3:
            said = said.replace(piece, "…")
    return " ".join(said.split())[:LONGEST]
