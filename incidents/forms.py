from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User

from incidents.action_items import MAY_OWN
from incidents.models import ActionItem, IncidentState, PostMortem, Scope, Severity
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
