from __future__ import annotations

from incidents.models.action_item import TO_DO, ActionItem, ActionItemState
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
from incidents.models.on_call import Absence, Override, PrivateAddress, Rotation, Turn
from incidents.models.postmortem import (
    Comment,
    PostMortem,
    PostMortemSection,
    PostMortemState,
    Revision,
    SectionTemplate,
    Waiver,
)
from incidents.models.review import Review
from incidents.models.source import Alert, Refusal, Source, Tally
from incidents.models.timeline import TimelineEntry

__all__ = [
    "OPEN",
    "TO_DO",
    "Absence",
    "ActionItem",
    "ActionItemState",
    "Alert",
    "Attempt",
    "Audit",
    "Channel",
    "Comment",
    "DeliveryState",
    "EmergencyContact",
    "Event",
    "Incident",
    "IncidentState",
    "Message",
    "Notification",
    "Override",
    "PostMortem",
    "PostMortemSection",
    "PostMortemState",
    "Preference",
    "PrivateAddress",
    "Refusal",
    "Review",
    "Revision",
    "Rotation",
    "Scope",
    "SectionTemplate",
    "Severity",
    "Source",
    "Subscription",
    "Tally",
    "TimelineEntry",
    "Turn",
    "Waiver",
    "Way",
]
