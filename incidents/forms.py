from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.contrib.auth.models import User

from incidents.action_items import MAY_OWN
from incidents.arrivals import SYSTEM_LABELS
from incidents.models import (
    ActionItem,
    DeliveryState,
    IncidentState,
    PostMortem,
    Rotation,
    Scope,
    Severity,
    Source,
    Way,
)
from incidents.models.notification import WANTABLE
from incidents.models.on_call import known_zone
from incidents.models.source import known_severities
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


class SourceForm(forms.ModelForm[Source]):
    class Meta:
        model = Source
        fields = ["name", "kind", "severity", "scope", "system_label", "severities", "enabled"]
        labels = {
            "severity": "Severity, else",
            "scope": "Scope, else",
            "enabled": "Switched on",
        }
        help_texts = {
            "name": "part of its address: letters, digits and hyphens",
            "severity": "when a message names none that is known",
            "scope": "when a message has no label “scope”",
            "system_label": "the label that names the system; empty: what is usual for this kind",
            "severities": 'its own words, as {"sev1": "critical"}; the usual ones are known',
        }
        widgets = {"severities": forms.Textarea(attrs={"rows": 2, "class": "machine", "spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["system_label"].required = False

    def clean_system_label(self) -> str:
        return self.cleaned_data["system_label"] or SYSTEM_LABELS.get(self.cleaned_data.get("kind", ""), "system")

    def clean_severities(self) -> dict[str, str]:
        """Words are compared in lower case."""
        given = self.cleaned_data["severities"] or {}
        known_severities(given)
        return {str(word).lower(): value for word, value in given.items()}


class OverrideForm(forms.Form):
    """Times are typed as on the wall where the rotation is."""

    person = forms.ModelChoiceField(User.objects.none(), empty_label=None)
    start = forms.DateTimeField(label="From", widget=forms.DateTimeInput({"type": "datetime-local"}))
    end = forms.DateTimeField(label="Until", widget=forms.DateTimeInput({"type": "datetime-local"}))
    note = forms.CharField(max_length=200, required=False)

    def __init__(self, rotation: Rotation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zone = ZoneInfo(rotation.time_zone)
        people = self.fields["person"]
        people.queryset = User.objects.filter(is_active=True, groups__isnull=False).distinct().order_by("last_name")  # type: ignore[attr-defined]
        people.label_from_instance = called  # type: ignore[attr-defined]
        for name in ("start", "end"):
            self.fields[name].help_text = f"{rotation.time_zone} time"

    def clean(self) -> dict[str, Any]:
        """Read in UTC by Django; meant in the rotation's zone."""
        for name in ("start", "end"):
            if at := self.cleaned_data.get(name):
                self.cleaned_data[name] = at.replace(tzinfo=self.zone)
        return self.cleaned_data


class SwapForm(forms.Form):
    one = forms.DateTimeField()
    other = forms.DateTimeField()


class CalendarForm(forms.Form):
    file = forms.FileField(label="Calendar file (.ics)", help_text="each event in it is a time at which you are away")
    time_zone = forms.CharField(
        max_length=60, initial="UTC", validators=[known_zone], help_text="of events that name none, e.g. Europe/Berlin"
    )
