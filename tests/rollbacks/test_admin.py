"""The audit: an auditor reads all that happened, with filters and search; nobody changes it, not even a superuser.
The matrix and the systems are edited there by those who may, and never behind anybody's back."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from portal.ledger.models import rows_of
from rollbacks import actions
from rollbacks.models import Approval, MatrixVersion, Plan, RestorePoint, Rollback, RollbackLogEntry, Step, System
from tests.conftest import again, asked, manifest_text

ClientFor = Callable[[User], Client]
Admin = Callable[[User], Client]
MODELS: dict[str, type[Any]] = {
    "rollback": Rollback,
    "plan": Plan,
    "approval": Approval,
    "step": Step,
    "restorepoint": RestorePoint,
    "rollbacklogentry": RollbackLogEntry,
}


@pytest.fixture
def admin(client_for: ClientFor, settings: Any, tmp_path: Path) -> Admin:
    """A browser in which this person is signed in, with the rights that the seed gives to their role."""
    settings.HOME = tmp_path

    def sign_in(user: User) -> Client:
        call_command("seed", stdout=io.StringIO())
        return client_for(user)

    return sign_in


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root")


def shown(client: Client, model: str, **query: str) -> str:
    response = client.get(f"/admin/rollbacks/{model}/", query)
    assert response.status_code == 200, (model, query)
    return response.content.decode()


def content(response: Any) -> str:
    """The page without the list of all models beside it."""
    return str(re.sub(r'<nav class="sticky" id="nav-sidebar".*?</nav>', "", response.content.decode(), flags=re.DOTALL))


def rows_in(page: str) -> int:
    return page.count('<tr><th class="field-') + page.count('<tr><td class="field-')


# --- reading --------------------------------------------------------------------------------------------------------


def test_the_auditor_reads_everything_and_finds_it(admin: Admin, watched: Rollback, auditor: User) -> None:
    client = admin(auditor)
    found: dict[str, list[tuple[dict[str, str], int]]] = {
        "rollback": [
            ({}, 1),
            ({"q": "500 since"}, 1),
            ({"q": "agents"}, 1),
            ({"q": "never asked"}, 0),
            ({"state__exact": "monitoring"}, 1),
            ({"state__exact": "held"}, 0),
            ({"severity__exact": "high", "procedure__exact": "code"}, 1),
        ],
        "plan": [({}, 1), ({"q": "agents"}, 1), ({"q": "another digest"}, 0)],
        "approval": [({"q": "techlead"}, 1), ({"vote__exact": "reject"}, 0)],
        "step": [({}, 9), ({"name__exact": "switch"}, 1), ({"q": "Preflight"}, 1), ({"state__exact": "failed"}, 0)],
        "restorepoint": [({"kind__exact": "safety"}, 1), ({"kind__exact": "backup"}, 0), ({"bad__exact": "1"}, 1)],
        "rollbacklogentry": [({"q": "500 since"}, 1), ({"outcome__exact": "reverted"}, 0)],
    }
    assert set(found) == set(MODELS)
    for model, searches in found.items():
        for query, count in searches:
            assert rows_in(shown(client, model, **query)) == count, (model, query)
    assert (
        "Henrik Lindqvist" in client.get(f"/admin/ledger/ledger/?q=Rollback {watched.pk}&move=approve").content.decode()
    )


@pytest.mark.parametrize("who", ["auditor", "superuser"])
def test_nobody_changes_what_happened(
    admin: Admin, watched: Rollback, who: str, request: pytest.FixtureRequest
) -> None:
    client = admin(request.getfixturevalue(who))
    for name, model in MODELS.items():
        before = list(model.objects.order_by("pk").values())
        one = model.objects.first()
        page = content(client.get(f"/admin/rollbacks/{name}/{one.pk}/change/"))
        assert "Close" in page
        listed = content(client.get(f"/admin/rollbacks/{name}/"))
        for button in ("Save", "Delete", "addlink", "deletelink", 'name="action"'):
            assert button not in page + listed, (name, button)
        assert client.get(f"/admin/rollbacks/{name}/add/").status_code == 403
        assert client.post(f"/admin/rollbacks/{name}/add/", {"reason": "x"}).status_code == 403
        assert client.post(f"/admin/rollbacks/{name}/{one.pk}/change/", {"reason": "x"}).status_code == 403
        assert client.post(f"/admin/rollbacks/{name}/{one.pk}/delete/", {"post": "yes"}).status_code == 403
        selected = {"action": "delete_selected", "_selected_action": [one.pk], "post": "yes"}
        client.post(f"/admin/rollbacks/{name}/", selected)
        assert list(model.objects.order_by("pk").values()) == before, name


def test_who_acted_cannot_be_deleted(admin: Admin, watched: Rollback, superuser: User, tech_lead: User) -> None:
    """Their name is in the record."""
    response = admin(superuser).post(f"/admin/auth/user/{tech_lead.pk}/delete/", {"post": "yes"})
    assert response.status_code in (200, 403)
    assert User.objects.filter(pk=tech_lead.pk).exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rollbacks_approval SET vote = 'reject'",
        "DELETE FROM rollbacks_approval",
        "TRUNCATE rollbacks_approval CASCADE",
    ],
)
def test_the_database_itself_refuses_to_change_a_vote(approved: Rollback, statement: str) -> None:
    if statement.startswith("TRUNCATE") and connection.vendor == "sqlite":
        statement = "DELETE FROM rollbacks_approval WHERE 1"  # all that SQLite has of it
    with (
        pytest.raises(DatabaseError, match="rollbacks_approval is append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert Approval.objects.get().vote == "approve"


# --- the matrix -----------------------------------------------------------------------------------------------------

ADD = "/admin/rollbacks/matrixversion/add/"


def typed(client: Client, **changes: object) -> dict[str, Any]:
    """The form as it comes, with the rows of the version in force, and what a person changes in it."""
    form = client.get(ADD).context["inline_admin_formsets"][0].formset
    words: dict[str, Any] = {"note": "After the review"}
    words |= {f"rules-{key}": form.management_form[key].value() for key in ("TOTAL_FORMS", "INITIAL_FORMS")}
    for each in form.forms:
        for field in each.visible_fields():
            if field.value() is not None and field.value() is not False:
                words[field.html_name] = field.value()
    return {**words, **changes}


def test_editing_the_matrix_makes_a_new_version(admin: Admin, system: System, oncall: User, tech_lead: User) -> None:
    old = asked(system, oncall)
    client = admin(tech_lead)
    response = client.post(ADD, typed(client, **{"rules-1-quorum": 2}))
    assert response.status_code == 302, list(response.context["errors"])
    first, second = MatrixVersion.objects.order_by("number")
    assert (second.number, second.note, second.made_by) == (2, "After the review", tech_lead)
    assert [str(rule) for rule in second.rules.all()] == [str(rule) for rule in first.rules.all()]
    assert [rule.quorum for rule in first.rules.all()] == [1, 1, 1, 1]
    assert [rule.quorum for rule in second.rules.all()] == [1, 2, 1, 1], "the rows that were left as they are, too"
    assert [rule.immediate for rule in second.rules.all()] == [True, False, False, False]
    new = asked(system, oncall)
    assert [(again(each).rule.version.number, again(each).rule.quorum) for each in (old, new)] == [(1, 1), (2, 2)]
    row = rows_of(second).get()
    assert (row.move, row.actor, row.note) == ("add", tech_lead, "After the review")
    assert row.data["rules"] == [str(rule) for rule in second.rules.all()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rules-0-budget_from": 40}, "budget_in_order"),
        ({"rules-1-severity": "critical", "rules-1-scope": "system-wide"}, "duplicate"),
        ({"rules-0-quorum": 0}, "greater than or equal to 1"),
        ({"rules-0-role": "Engineer"}, "Immediate needs an On-Call Engineer or above"),
        ({"rules-0-role": "Auditor"}, "not one of the available choices"),
        ({"rules-TOTAL_FORMS": 0}, "A matrix without rows answers nobody"),
        ({"note": ""}, "required"),
    ],
)
def test_a_matrix_that_cannot_be_is_said_so(
    admin: Admin, matrix: None, tech_lead: User, changes: dict[str, Any], said: str
) -> None:
    client = admin(tech_lead)
    response = client.post(ADD, typed(client, **changes))
    assert response.status_code == 200
    assert said in response.content.decode()
    assert MatrixVersion.objects.count() == 1


def test_a_version_is_never_edited(admin: Admin, matrix: None, superuser: User) -> None:
    client = admin(superuser)
    version = MatrixVersion.objects.get()
    page = client.get(f"/admin/rollbacks/matrixversion/{version.pk}/change/").content.decode()
    assert "On-Call Engineer" in page
    assert "Save" not in page
    for verb in ("change", "delete"):
        url = f"/admin/rollbacks/matrixversion/{version.pk}/{verb}/"
        assert client.post(url, {"note": "x", "post": "yes"}).status_code == 403
    assert MatrixVersion.objects.get().note == "From the rollback guide"


def test_who_may_edit_the_matrix_and_the_systems(
    admin: Admin, system: System, auditor: User, manager: User, oncall: User, devops: User
) -> None:
    change = f"/admin/rollbacks/system/{system.pk}/change/"
    client = admin(auditor)
    assert client.get("/admin/rollbacks/matrixversion/").status_code == client.get(change).status_code == 200
    assert "Save" not in client.get(change).content.decode()
    for url in (ADD, change, "/admin/rollbacks/system/add/"):
        assert client.post(url, {"note": "x", "manifest_text": "x"}).status_code == 403
        assert admin(manager).get(url).status_code == 403
        assert admin(oncall).get(url).status_code in (302, 403), "not in the admin at all"
        assert admin(devops).get(url).status_code == (403 if url == ADD else 200), "the matrix is the Tech Leads'"


# --- systems --------------------------------------------------------------------------------------------------------


def test_who_only_reads_a_system_sees_no_password_of_its_manifest(
    admin: Admin, system: System, auditor: User, devops: User
) -> None:
    System.objects.update(manifest_text=f"{system.manifest_text}# http://me:pa/ssword@127.0.0.1:9001\n")
    url = f"/admin/rollbacks/system/{system.pk}/change/"
    shown = admin(auditor).get(url).content.decode()
    assert "# http://•••@127.0.0.1:9001" in shown
    assert "ssword" not in shown
    assert "# http://me:pa/ssword@127.0.0.1:9001" in admin(devops).get(url).content.decode()


def test_a_system_is_changed_through_the_same_door(
    admin: Admin, system: System, checkout: Path, tech_lead: User
) -> None:
    client, url = admin(tech_lead), f"/admin/rollbacks/system/{system.pk}/change/"
    text = manifest_text(checkout, test="invoke test").replace("\n", "\r\n")  # as browsers send it
    assert client.post(url, {"manifest_text": text}).status_code == 302
    changed = System.objects.get()
    assert changed.manifest.commands == {"test": "invoke test"}
    assert "\r" not in changed.manifest_text
    assert client.post(url, {"manifest_text": text, "retired": "on"}).status_code == 302
    assert System.objects.get().retired
    assert client.post(url, {"manifest_text": text}).status_code == 302
    assert not System.objects.get().retired
    rows = [(row.move, row.actor) for row in rows_of(system).order_by("number")]
    assert rows == [
        ("add", None), ("change", tech_lead), ("retire", tech_lead), ("bring back", tech_lead)
    ]  # fmt: skip


def test_a_system_with_a_rollback_under_watch_is_not_retired(
    admin: Admin, watched: Rollback, oncall: User, tech_lead: User
) -> None:
    """Nobody would ask for its health any more, and the watch would never end."""
    url = f"/admin/rollbacks/system/{watched.system_id}/change/"
    words = {"manifest_text": watched.system.manifest_text, "retired": "on"}
    refused = admin(tech_lead).post(url, words).content.decode()
    assert f"Rollback {watched.pk} is monitoring, and nobody would watch it any more." in refused
    assert not System.objects.get().retired
    actions.complete(watched.pk, by=oncall, note="Fine")
    assert admin(tech_lead).post(url, words).status_code == 302
    assert System.objects.get().retired


def test_a_system_is_added(admin: Admin, matrix: None, checkout: Path, devops: User) -> None:
    response = admin(devops).post(
        "/admin/rollbacks/system/add/", {"manifest_text": manifest_text(checkout)}, follow=True
    )
    assert "agents" in response.content.decode()
    assert "“<a" in response.content.decode(), "the message links to it, by its name"
    assert System.objects.get().name == "agents"
    assert rows_of(System.objects.get()).get().actor == devops


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[commands]", "[comands]"), "line 11, [comands]: there is no such table"),
        (('name = "agents"', 'name = "billing"'), "The name stays agents: add another system for billing."),
    ],
)
def test_a_wrong_manifest_is_told_with_its_line(
    admin: Admin, system: System, checkout: Path, tech_lead: User, change: tuple[str, str], said: str
) -> None:
    text = manifest_text(checkout).replace(*change)
    response = admin(tech_lead).post(f"/admin/rollbacks/system/{system.pk}/change/", {"manifest_text": text})
    assert response.status_code == 200
    assert said in response.content.decode()
    assert text.splitlines()[3] in response.content.decode().replace("&quot;", '"'), "what was typed is not lost"
    assert System.objects.get().manifest_text == system.manifest_text


def test_adding_one_that_is_there_changes_nothing(admin: Admin, system: System, checkout: Path, devops: User) -> None:
    text = manifest_text(checkout, test="something else")
    response = admin(devops).post("/admin/rollbacks/system/add/", {"manifest_text": text})
    assert "There is a system agents already: change that one." in response.content.decode()
    assert System.objects.get().manifest_text == system.manifest_text


def test_a_system_is_never_deleted(admin: Admin, system: System, superuser: User) -> None:
    client = admin(superuser)
    assert client.post(f"/admin/rollbacks/system/{system.pk}/delete/", {"post": "yes"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [system.pk], "post": "yes"}
    client.post("/admin/rollbacks/system/", selected)
    assert System.objects.exists()
