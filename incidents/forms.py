from __future__ import annotations

from django import forms

from incidents.models import IncidentState, Scope, Severity


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
