from __future__ import annotations

from incidents.models.contact import EmergencyContact
from incidents.models.incident import OPEN, Incident, IncidentState, Scope, Severity
from incidents.models.on_call import Absence, Override, PrivateAddress, Rotation, Turn
from incidents.models.review import Review
from incidents.models.source import Alert, Refusal, Source, Tally
from incidents.models.timeline import TimelineEntry

__all__ = [
    "OPEN",
    "Absence",
    "Alert",
    "EmergencyContact",
    "Incident",
    "IncidentState",
    "Override",
    "PrivateAddress",
    "Refusal",
    "Review",
    "Rotation",
    "Scope",
    "Severity",
    "Source",
    "Tally",
    "TimelineEntry",
    "Turn",
]
