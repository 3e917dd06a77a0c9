from __future__ import annotations

from django.contrib import admin

from incidents.models import (
    ActionItem,
    EmergencyContact,
    Incident,
    PostMortem,
    Review,
    Revision,
    Rotation,
    SectionTemplate,
    TimelineEntry,
    Turn,
)
from portal.ledger.admin import PeriodFilter, ReadOnlyAdmin, RecordedAdmin


@admin.register(EmergencyContact)
class EmergencyContactAdmin(RecordedAdmin):
    list_display = ["role", "person", "duty", "phone", "email", "chat", "hours", "order"]
    list_filter = ["role"]
    list_select_related = ["person"]
    search_fields = ["duty", "phone", "email", "person__username", "person__last_name"]


class TurnInline(admin.TabularInline[Turn, Rotation]):
    model = Turn
    extra = 1


@admin.register(Rotation)
class RotationAdmin(RecordedAdmin):
    list_display = ["name", "covers", "days", "weekday", "handover", "time_zone", "starts"]
    inlines = [TurnInline]


class DeclaredFilter(PeriodFilter):
    column = "declared_at"


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "title", "severity", "scope", "state", "declarer", "declared_at", "closed_at"]
    list_filter = [DeclaredFilter, "state", "severity", "scope"]
    list_select_related = ["declared_by"]
    search_fields = ["title", "summary"]
    ordering = ["-declared_at", "-pk"]


@admin.register(TimelineEntry)
class TimelineEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "incident", "by_name", "kind", "text"]
    list_filter = ["kind", "at"]
    list_select_related = ["incident"]
    search_fields = ["text", "by_name"]


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    list_display = ["subject", "kind", "incident", "opened_by", "due_at", "reviewed_by", "reviewed_at"]
    list_filter = ["kind", "due_at", ("reviewed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["incident", "opened_by", "reviewed_by"]
    search_fields = ["subject", "reason", "note"]


@admin.register(SectionTemplate)
class SectionTemplateAdmin(RecordedAdmin):
    list_display = ["title", "key", "hint", "order"]


@admin.register(PostMortem)
class PostMortemAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "state", "audience", "begun_by", "begun_at", "published_by", "published_at"]
    list_filter = ["state", "audience"]
    list_select_related = ["begun_by", "published_by"]


@admin.register(Revision)
class RevisionAdmin(ReadOnlyAdmin):
    list_display = ["postmortem", "number", "kind", "by", "at", "digest"]
    list_filter = ["kind"]
    list_select_related = ["postmortem", "by"]


@admin.register(ActionItem)
class ActionItemAdmin(ReadOnlyAdmin):
    list_display = ["title", "state", "term", "owner", "due_at", "incident", "subject"]
    list_filter = ["state", "term"]
    list_select_related = ["owner", "incident"]
    search_fields = ["title", "subject", "note"]
