from __future__ import annotations

from incidents.models.action_item import TO_DO, ActionItem, ActionItemState
from incidents.models.contact import EmergencyContact
from incidents.models.incident import OPEN, Incident, IncidentState, Scope, Severity
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
from incidents.models.timeline import TimelineEntry

__all__ = [
    "OPEN",
    "TO_DO",
    "ActionItem",
    "ActionItemState",
    "Comment",
    "EmergencyContact",
    "Incident",
    "IncidentState",
    "PostMortem",
    "PostMortemSection",
    "PostMortemState",
    "Review",
    "Revision",
    "Scope",
    "SectionTemplate",
    "Severity",
    "TimelineEntry",
    "Waiver",
]
