from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Model
from django.forms.renderers import BaseRenderer
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from incidents.models import OPEN, Incident, Scope, Severity
from portal.ledger.moves import MoveRefused
from rollbacks.models import RestorePoint, RestorePointState, RollbackLogEntry, System
from rollbacks.models.matrix import PROCEDURES as NAMES
from rollbacks.procedures.known import ROLLBACKS
from rollbacks.tools import manifest


class ManifestForm(forms.Form):
    """A system by its manifest, typed or as a file."""

    text = forms.CharField(
        label="Manifest",
        required=False,
        strip=False,  # problems are told with their lines
        widget=forms.Textarea(attrs={"rows": 28, "spellcheck": "false", "class": "machine"}),
        help_text="system.toml: what the system is made of, and how it is started, tested and asked for its health",
    )
    file = forms.FileField(label="or a file", required=False)

    def __init__(self, *args: Any, system: System | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.system = system

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        text = cleaned.get("text", "")
        if upload := cleaned.get("file"):
            text = upload.read().decode(errors="replace")
        text = text.replace("\r\n", "\n")  # as browsers send it; a manifest saved as it was is no change
        try:
            parsed = manifest.parse(text)
        except manifest.ManifestError as error:
            for problem in error.problems:
                self.add_error("text", problem)
        else:
            if self.system and parsed.name != self.system.name:
                self.add_error("text", f"The name stays {self.system}: add another system for {parsed.name}.")
        cleaned["text"] = text
        return cleaned


class BackupForm(forms.Form):
    reason = forms.CharField(max_length=200, required=False, label="Before what? (optional)")


class QuickSelect(forms.Select):
    """As Django's, which fills two templates for each option: for two hundred systems that is a third of the page."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: BaseRenderer | None = None
    ) -> SafeString:
        own = self.build_attrs(self.attrs, {"name": name, **(attrs or {})})
        rows = ((key, flatatt({"selected": str(key) == str(value or "")}), label) for key, label in self.choices)
        options = format_html_join("\n", '<option value="{}"{}>{}</option>', rows)
        return format_html("<select{}>{}</select>", flatatt(own), options)


class RollbackForm(forms.Form):
    """What to go back to, and why. The matrix's answer is shown beside it as it is filled in."""

    procedure = forms.ChoiceField(label="Procedure", widget=QuickSelect)
    target = forms.CharField(
        max_length=100, label="Target", help_text="a restore point's tag, or a commit, tag or branch of the system"
    )
    with_configuration = forms.BooleanField(
        required=False, label="Restore the configuration of the restore point too",
    )  # fmt: skip
    component = forms.ChoiceField(required=False, label="Component", widget=QuickSelect)
    into = forms.CharField(
        required=False, max_length=300, label="Into another directory",
        help_text="an empty directory on the host, for a copy beside the system; leave it empty for the system itself",
    )  # fmt: skip
    set_logs_aside = forms.BooleanField(
        required=False, label="Set the logs aside, with the artifacts that are replaced"
    )
    reset_metrics = forms.BooleanField(required=False, label="Reset the metrics afterwards")
    severity = forms.ChoiceField(choices=Severity, widget=QuickSelect)
    scope = forms.ChoiceField(choices=Scope, widget=QuickSelect)
    incident = forms.ModelChoiceField(
        Incident.objects.none(), required=False, empty_label="no incident", widget=QuickSelect
    )
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), label="What is wrong, and why roll back?")

    def __init__(self, system: System, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = dict(NAMES)
        self.fields["procedure"].choices = [(name, names[name]) for name in ROLLBACKS]  # type: ignore[attr-defined]
        components = list(system.manifest.components)
        self.fields["component"].choices = [("", "–"), *((name, name) for name in components)]  # type: ignore[attr-defined]
        incident = self.fields["incident"]
        incident.queryset = Incident.objects.filter(state__in=OPEN)  # type: ignore[attr-defined]
        incident.label_from_instance = lambda each: f"{each}: {each.title}"  # type: ignore[attr-defined]
        good = [RestorePointState.AVAILABLE, RestorePointState.VERIFIED]
        self.points = system.restore_points.filter(bad=False, state__in=good)[:12]
        self.commits = system.facts.get("log", [])[:12]
        shown = [*(point.commit for point in self.points), *(commit["sha"] for commit in self.commits)]
        self.bad = RestorePoint.bad_releases(system, shown)


class NoteForm(forms.Form):
    note = forms.CharField(required=False, max_length=2000)

    def words(self, obj: Model) -> str:
        """The note. Raises MoveRefused when it cannot be taken: a move is never made without what was said to it."""
        if not self.is_valid():
            why = " ".join(str(error) for errors in self.errors.values() for error in errors)
            raise MoveRefused(f"Nothing was done, because the note cannot be kept. {why}", obj)
        words: str = self.cleaned_data["note"]
        return words


class LogFilter(forms.Form):
    q = forms.CharField(max_length=100, required=False, label="Search", widget=forms.SearchInput)
    until = forms.DateField(required=False, label="Until", widget=forms.DateInput({"type": "date"}))
    system = forms.ModelChoiceField(
        System.objects.only("name"),
        required=False,
        to_field_name="name",
        empty_label="all systems",
        widget=QuickSelect,
    )
    severity = forms.ChoiceField(choices=[("", "all severities"), *Severity.choices], required=False)
    outcome = forms.ChoiceField(
        choices=[("", "all outcomes"), *RollbackLogEntry.Outcome.choices], required=False
    )  # fmt: skip


class ExplainForm(forms.Form):
    root_cause = forms.CharField(required=False, max_length=10_000)
    prevention = forms.CharField(required=False, max_length=10_000)
