"""What is said to whom, by which way, and what became of it: a map. Written by notify.py, moved by delivery.py.

A Message is said once; a Notification is one copy of it on its way to one address; an Attempt is one try to send it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from incidents.models.contact import STALE
from incidents.models.incident import Incident, Severity
from portal.ledger.roles import called


class Event(models.TextChoices):
    DECLARED = "declared", "An incident is declared"
    MOVED = "moved", "An incident moves on"
    UPDATE = "update", "A status update is written"
    APPROVAL = "approval", "A rollback waits for my approval"
    DECIDED = "decided", "A rollback that I asked for is decided"
    PROGRESS = "progress", "A rollback starts or ends"
    TROUBLE = "trouble", "A rollback fails, is aborted or is held"
    ESCALATED = "escalated", "Nobody has answered, and I am the next contact"
    REMINDER = "reminder", "An action item of mine is overdue"
    DRILL = "drill", "I am asked whether a channel reaches me"
    CODE = "code", "A channel is tested"


ALWAYS = {Event.ESCALATED, Event.DRILL, Event.CODE}  # whatever a person wants to hear of
WANTABLE = [(event.value, event.label) for event in Event if event not in ALWAYS]
TELLS = {  # the ledger's rows that somebody has to hear of: who writes one says so in the same transaction
    ("incident", "declare"): Event.DECLARED,
    ("incident", "acknowledge"): Event.MOVED,
    ("incident", "mitigate"): Event.MOVED,
    ("incident", "monitor"): Event.MOVED,
    ("incident", "resolve"): Event.MOVED,
    ("incident", "reopen"): Event.MOVED,
    ("incident", "close"): Event.MOVED,
    ("incident", "cancel"): Event.MOVED,
    ("incident", "update"): Event.UPDATE,
    ("incident", "escalate"): Event.ESCALATED,
    ("actionitem", "escalate"): Event.ESCALATED,
    ("rollback", "plan"): Event.APPROVAL,
    ("rollback", "void"): Event.APPROVAL,
    ("rollback", "escalate"): Event.ESCALATED,
    ("rollback", "approve"): Event.DECIDED,
    ("rollback", "override"): Event.DECIDED,
    ("rollback", "reject"): Event.DECIDED,
    ("rollback", "cancel"): Event.DECIDED,
    ("rollback", "refuse"): Event.DECIDED,
    ("rollback", "expire"): Event.DECIDED,
    ("rollback", "start"): Event.PROGRESS,
    ("rollback", "watch"): Event.PROGRESS,
    ("rollback", "complete"): Event.PROGRESS,
    ("rollback", "settle"): Event.PROGRESS,
    ("rollback", "restore"): Event.PROGRESS,
    ("rollback", "fail"): Event.TROUBLE,
    ("rollback", "abort"): Event.TROUBLE,
    ("rollback", "hold"): Event.TROUBLE,
}


class Way(models.TextChoices):
    EMAIL = "email", "Mail"
    APPRISE = "apprise", "Chat, SMS or push"
    BROWSER = "browser", "In the portal"


class Channel(models.Model):
    """A way to reach a person. It is used once a code that was sent there has been typed in."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="channels")
    way = models.CharField(max_length=10, choices=[each for each in Way.choices if each[0] != Way.BROWSER])
    label = models.CharField(max_length=60)
    address = models.CharField(max_length=500)  # an Apprise address holds secrets: shown() is what a page may say
    order = models.PositiveSmallIntegerField(default=0)
    verified_at = models.DateTimeField(null=True)
    code = models.CharField(max_length=64, blank=True)  # a hash
    code_until = models.DateTimeField(null=True)
    guesses = models.PositiveSmallIntegerField(default=0)
    trouble = models.CharField(max_length=300, blank=True)  # why the last message was given up; "" once one arrives
    trouble_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["order", "pk"]
        constraints = [models.UniqueConstraint(fields=["person", "address"], name="channel_once")]

    def __str__(self) -> str:
        return f"{self.label} ({shown(self.way, self.address)})"

    @property
    def doubt(self) -> str:
        """ "" or why nobody should rely on it."""
        if self.verified_at is None:
            return "never confirmed"
        if self.trouble:
            return "the last message was given up"
        if timezone.now() - self.verified_at > STALE:
            return f"not confirmed since {self.verified_at:%-d %b %Y}"
        return ""


def shown(way: str, address: str) -> str:
    """An address as anybody may read it: of an Apprise address only the service."""
    if way == Way.APPRISE:
        return f"{address.partition('://')[0]}://…"
    return address


class Preference(models.Model):
    """What a person wants to hear of, and when not. Critical passes at any hour."""

    person = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="preference")
    unwanted_events = models.JSONField(default=list)
    unwanted_severities = models.JSONField(default=list)
    quiet_from = models.TimeField(null=True)
    quiet_to = models.TimeField(null=True)
    zone = models.CharField(max_length=60, default="UTC")

    def __str__(self) -> str:
        return f"what {called(self.person)} wants to hear of"

    def wants(self, event: str, severity: str) -> bool:
        return event in ALWAYS or not (event in self.unwanted_events or severity in self.unwanted_severities)

    def quiet_until(self, at: datetime) -> datetime | None:
        """When the quiet hours end that `at` is in; None outside them. They may go over midnight."""
        if self.quiet_from is None or self.quiet_to is None or self.quiet_from == self.quiet_to:
            return None
        here = at.astimezone(ZoneInfo(self.zone))
        clock, over_midnight = here.time(), self.quiet_from > self.quiet_to
        if over_midnight:
            quiet = clock >= self.quiet_from or clock < self.quiet_to
        else:
            quiet = self.quiet_from <= clock < self.quiet_to
        if not quiet:
            return None
        day = here.date() + timedelta(days=1 if over_midnight and clock >= self.quiet_from else 0)
        return datetime.combine(day, self.quiet_to, tzinfo=here.tzinfo).astimezone(UTC)


class Subscription(models.Model):
    """A stakeholder (a person, or a bare address) who hears of a system, or of a severity."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="subscriptions")
    email = models.EmailField(blank=True)
    system = models.CharField(max_length=80, blank=True)  # its name: an incident knows no systems
    severity = models.CharField(max_length=10, choices=Severity, blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["person", "email", "system", "severity"], name="subscribed_once")
        ]

    def __str__(self) -> str:
        return f"{self.email or called(self.person)} to {self.topic}"

    @property
    def topic(self) -> str:
        return self.system or f"{self.get_severity_display()} incidents"


class Message(models.Model):
    """What was said, once. Its key keeps a repeated move from telling anybody twice."""

    event = models.CharField(max_length=10, choices=Event)
    key = models.CharField(max_length=120, unique=True)
    cause = models.PositiveBigIntegerField(null=True, db_index=True)  # the ledger row that somebody had to hear of
    topic = models.CharField(max_length=80, blank=True, db_index=True)  # what makes it stale: supersede(topic)
    incident = models.ForeignKey(Incident, models.PROTECT, null=True, related_name="messages")
    severity = models.CharField(max_length=10, choices=Severity, blank=True)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    url = models.CharField(max_length=200, blank=True)
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.subject


class DeliveryState(models.TextChoices):
    PENDING = "pending", "Pending"
    SENDING = "sending", "Sending"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed, will be tried again"
    DEAD = "dead", "Given up"
    SUPERSEDED = "superseded", "Superseded"
    EXPIRED = "expired", "Expired"


WAITING = [DeliveryState.PENDING, DeliveryState.FAILED]


class Notification(models.Model):
    """One message on its way to one address. Its states are the outbox's own notes, no ledger matter: see the decision
    on them."""

    message = models.ForeignKey(Message, models.PROTECT, related_name="notifications")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="notifications")
    channel = models.ForeignKey(Channel, models.SET_NULL, null=True, related_name="+")
    way = models.CharField(max_length=10, choices=Way)
    label = models.CharField(max_length=60, blank=True)  # the channel's, kept when the channel is gone
    address = models.CharField(max_length=500, blank=True)
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.PENDING)
    due_at = models.DateTimeField(default=timezone.now)
    claimed_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)
    doubtful = models.BooleanField(default=False)  # a send was cut short: it may arrive twice, and says so
    bundle = models.ForeignKey("self", models.SET_NULL, null=True, related_name="bundled")  # went out in this one
    again = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+")  # a person had this one sent again

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(state__in=["pending", "failed"]), name="outbox_due"),
            models.Index(fields=["claimed_at"], condition=models.Q(state="sending"), name="outbox_sending"),
            models.Index(fields=["address", "sent_at"]),
            models.Index(fields=["person", "way", "state", "read_at"]),
        ]

    def __str__(self) -> str:
        return f"Notification {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("incidents:deliveries")

    @property
    def to(self) -> str:
        return called(self.person) if self.person_id else self.address

    @property
    def by_way(self) -> str:
        """The way as anybody may read it."""
        if self.way == Way.BROWSER:
            return str(self.get_way_display())
        return f"{self.label or self.get_way_display()}: {shown(self.way, self.address)}"

    @property
    def took(self) -> float | None:
        """Seconds from the move to the provider's yes."""
        return (self.sent_at - self.message.made_at).total_seconds() if self.sent_at else None


class Attempt(models.Model):
    """One try to send. An interrupted one was cut short by a crash: whether it arrived, nobody knows."""

    class Outcome(models.TextChoices):
        UNDER_WAY = "", "Under way"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        INTERRUPTED = "interrupted", "Interrupted by a crash"

    notification = models.ForeignKey(Notification, models.PROTECT, related_name="attempts")
    began_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=12, choices=Outcome, default=Outcome.UNDER_WAY, blank=True)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.began_at:%H:%M:%S} {self.get_outcome_display()}"


class Audit(models.Model):
    """What the auditor found when it last looked, in the one row. It asks of the time since its own first look."""

    since = models.DateTimeField(default=timezone.now)
    at = models.DateTimeField(default=timezone.now)
    findings = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"audit of {self.at:%Y-%m-%d %H:%M:%S}"
