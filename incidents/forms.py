from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth.models import User

from incidents.action_items import MAY_OWN
from incidents.models import ActionItem, DeliveryState, IncidentState, PostMortem, Scope, Severity, Way
from incidents.models.notification import WANTABLE
from portal.ledger.roles import called, holders


class DeclareForm(forms.Form):
    title = forms.CharField(max_length=200, label="What is wrong?", help_text="one line, as you would say it aloud")
    severity = forms.ChoiceField(
        choices=Severity,
        initial=Severity.HIGH,
        help_text="sets the time to respond: Critical 15 min, High 1 h, Medium 4 h, Low the next working day",
    )
    scope = forms.ChoiceField(choices=Scope, initial=Scope.MULTIPLE, help_text="how much of it is affected")
    summary = forms.CharField(
        max_length=10_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="what users see, since when, what was deployed; you can add to it later",
    )


class NoteForm(forms.Form):
    note = forms.CharField(
        max_length=4000,
        required=False,  # which moves need one is said by the action
        label="Note",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="what you did, saw or decided; it goes into the timeline",
    )


class FilterForm(forms.Form):
    q = forms.CharField(max_length=100, required=False, label="Search", widget=forms.SearchInput)
    state = forms.ChoiceField(
        required=False, choices=[("", "Any state"), ("open", "Open"), ("late", "Late"), *IncidentState.choices]
    )
    severity = forms.ChoiceField(required=False, choices=[("", "Any severity"), *Severity.choices])


class OwnerField(forms.ModelChoiceField):  # type: ignore[type-arg]  # Django itself takes no [User]
    def label_from_instance(self, person: Any) -> str:
        return called(person)


class ActionItemForm(forms.Form):
    title = forms.CharField(max_length=200, label="What is to be done?")
    owner = OwnerField(User.objects.none(), required=False, empty_label="Nobody yet")
    term = forms.ChoiceField(choices=ActionItem.Term, initial=ActionItem.Term.LONG)
    due_at = forms.DateTimeField(
        required=False,
        label="Due (UTC)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        owners = User.objects.filter(pk__in=[person.pk for role in MAY_OWN for person in holders(role)])
        self.fields["owner"].queryset = owners.order_by("first_name", "last_name", "pk")  # type: ignore[attr-defined]


class SectionForm(forms.Form):
    """What a writer sends: how long it may be is said by the action, so that nothing typed is lost."""

    body = forms.CharField(required=False, strip=False)
    version = forms.IntegerField(min_value=0)
    over = forms.IntegerField(min_value=0, required=False)  # the version that the writer has read, and saves over


class AudienceForm(forms.Form):
    audience = forms.ChoiceField(choices=PostMortem.Audience)


class ChannelForm(forms.Form):
    way = forms.ChoiceField(choices=[(Way.EMAIL.value, Way.EMAIL.label), (Way.APPRISE.value, Way.APPRISE.label)])
    label = forms.CharField(max_length=60, label="Name", help_text="as you call it: phone, team chat")
    address = forms.CharField(
        max_length=500,
        help_text="a mail address, or the Apprise address of a service (slack://…, msteams://…, ntfy://…, matrix://…); "
        "it is never shown again",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class WishesForm(forms.Form):
    events = forms.MultipleChoiceField(
        choices=WANTABLE, required=False, widget=forms.CheckboxSelectMultiple, label="Tell me when"
    )
    severities = forms.MultipleChoiceField(
        choices=Severity, required=False, widget=forms.CheckboxSelectMultiple, label="and it is"
    )
    quiet_from = forms.TimeField(required=False, widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"))
    quiet_to = forms.TimeField(required=False, widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"))
    zone = forms.CharField(max_length=60, label="Time zone", help_text="as in Europe/Stockholm")

    def clean_zone(self) -> str:
        zone = str(self.cleaned_data["zone"])
        if zone not in available_timezones():
            raise forms.ValidationError("Nobody knows this time zone: write it as Europe/Stockholm or UTC.")
        return zone

    def clean(self) -> dict[str, Any]:
        wanted = super().clean() or {}
        if (wanted.get("quiet_from") is None) != (wanted.get("quiet_to") is None):
            raise forms.ValidationError("Say when the quiet hours begin and when they end, or neither.")
        return wanted


class SubscribeForm(forms.Form):
    system = forms.CharField(max_length=80, required=False, help_text="the name of a system")
    severity = forms.ChoiceField(choices=[("", "–"), *Severity.choices], required=False, label="or a severity")
    email = forms.EmailField(required=False, label="for this mail address", help_text="empty: for yourself")

    def clean(self) -> dict[str, Any]:
        wanted = super().clean() or {}
        if bool(wanted.get("system")) == bool(wanted.get("severity")):
            raise forms.ValidationError("Choose a system or a severity, one of them.")
        return wanted


class DeliveryFilterForm(forms.Form):
    state = forms.ChoiceField(required=False, choices=[("", "Any state"), *DeliveryState.choices])
