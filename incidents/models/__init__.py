from __future__ import annotations

from incidents.models.contact import EmergencyContact
from incidents.models.incident import OPEN, Incident, IncidentState, Scope, Severity
from incidents.models.notification import (
    Attempt,
    Audit,
    Channel,
    DeliveryState,
    Event,
    Message,
    Notification,
    Preference,
    Subscription,
    Way,
)
from incidents.models.review import Review
from incidents.models.timeline import TimelineEntry

__all__ = [
    "OPEN",
    "Attempt",
    "Audit",
    "Channel",
    "DeliveryState",
    "EmergencyContact",
    "Event",
    "Incident",
    "IncidentState",
    "Message",
    "Notification",
    "Preference",
    "Review",
    "Scope",
    "Severity",
    "Subscription",
    "TimelineEntry",
    "Way",
]
