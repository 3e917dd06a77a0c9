from __future__ import annotations

from django.contrib import admin

from incidents.models import (
    ActionItem,
    Attempt,
    Audit,
    Channel,
    EmergencyContact,
    Event,
    Incident,
    Message,
    Notification,
    PostMortem,
    Review,
    Revision,
    Rotation,
    SectionTemplate,
    Subscription,
    TimelineEntry,
    Turn,
)
from incidents.models.notification import shown
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


# --- notifications: an address may hold secrets, so none is shown or searched ---------------------------------------


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ["made_at", "subject", "event", "severity", "incident", "expires_at"]
    list_filter = ["event", "severity"]
    list_select_related = ["incident"]
    search_fields = ["subject", "text"]
    fields = ["made_at", "event", "severity", "subject", "said", "url", "incident", "cause", "topic", "expires_at"]
    readonly_fields = ["said"]

    @admin.display(description="text")
    def said(self, message: Message) -> str:
        return "(a code)" if message.event == Event.CODE else message.text


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ["message", "to", "by_way", "state", "due_at", "sent_at", "tries"]
    list_filter = ["state", "way", "doubtful", "message__event"]
    list_select_related = ["message", "person"]
    search_fields = ["message__subject", "label", "person__username", "person__last_name"]
    fields = ["message", "to", "by_way", "state", "due_at", "claimed_at", "sent_at", "read_at", "tries", "doubtful"]
    readonly_fields = ["to", "by_way"]


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ["began_at", "notification", "to", "by_way", "outcome", "ended_at", "detail"]
    list_filter = ["outcome", "notification__way"]
    list_select_related = ["notification__message", "notification__person"]
    search_fields = ["detail", "notification__message__subject"]

    def to(self, attempt: Attempt) -> str:
        return attempt.notification.to

    def by_way(self, attempt: Attempt) -> str:
        return attempt.notification.by_way


@admin.register(Channel)
class ChannelAdmin(ReadOnlyAdmin):
    list_display = ["person", "label", "way", "where", "verified_at", "trouble", "trouble_at"]
    list_filter = ["way", ("verified_at", admin.EmptyFieldListFilter)]
    list_select_related = ["person"]
    search_fields = ["label", "person__username", "person__last_name"]
    fields = ["person", "label", "way", "where", "verified_at", "trouble", "trouble_at"]
    readonly_fields = ["where"]

    def where(self, channel: Channel) -> str:
        return shown(channel.way, channel.address)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ["person", "email", "system", "severity", "made_by", "made_at"]
    list_filter = ["severity"]
    list_select_related = ["person", "made_by"]
    search_fields = ["email", "system", "person__username", "person__last_name"]


@admin.register(Audit)
class AuditAdmin(ReadOnlyAdmin):
    list_display = ["at", "since", "findings"]
