"""docs/states.md says what the code does: each move of each table is made by a real person of each role."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from incidents.models import ActionItem, Incident, PostMortem, PostMortemSection, Waiver
from portal.ledger.machines import YES, machines, moves, states
from portal.ledger.models import rows_of
from portal.ledger.moves import MoveRefused, NotAllowed, StateModel, advance
from portal.ledger.roles import Role
from rollbacks.management.commands.states import document
from rollbacks.models import Approval, DecisionRule, Plan, RestorePoint, Rollback, System
from tests.conftest import manifest_text, person

DOC = Path(__file__).resolve().parent.parent / "docs" / "states.md"
PEOPLE: dict[str, Role | None] = {"machine": None, **{role.value: role for role in Role}}


def test_the_document_is_what_the_code_says() -> None:
    assert DOC.read_text() == document(), "run: python manage.py states > docs/states.md"


def rows() -> list[tuple[str, str, str, str, dict[str, bool]]]:
    """(machine, state, move, target, {role: may}) of every table in the document."""
    found, machine, columns = [], "", []
    for line in DOC.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            machine = line.removeprefix("## ")
        elif line.startswith("| state |"):
            columns = cells[3:]
        elif line.startswith("| ") and not line.startswith("| ---"):
            may = {role: cell == YES for role, cell in zip(columns, cells[3:], strict=True)}
            found.append((machine, cells[0], cells[1], cells[2], may))
    return found


def make(machine: str, state: str, requester: User, lead: User, root: Path) -> StateModel:
    if machine == "Action item":
        return ActionItem.objects.create(title="x", state=state)
    if machine in ("Incident", "Post-mortem"):
        of_incident = {"state": state} if machine == "Incident" else {}
        incident = Incident.objects.create(
            title="x",
            severity="high",
            scope="multiple",
            declared_by=requester,
            respond_by=timezone.now(),
            **of_incident,
        )
        if machine == "Incident":
            Waiver.objects.create(incident=incident, by=lead, reason="x")
            return incident
        postmortem = PostMortem.objects.create(incident=incident, begun_by=requester, state=state)
        PostMortemSection.objects.create(postmortem=postmortem, key="summary", title="Summary", body="x")
        return postmortem
    system = System.objects.get_or_create(name="agents", defaults={"manifest_text": manifest_text(root)})[0]
    if machine == "Restore point":
        return RestorePoint.objects.create(system=system, tag=f"backup-{RestorePoint.objects.count()}", state=state)
    rollback = Rollback.objects.create(
        system=system,
        procedure="code",
        severity="high",
        scope="multiple",
        reason="x",
        target="v1",
        requested_by=requester,
        rule=DecisionRule.objects.get(role=Role.TECH_LEAD.value),
        state=state,
    )
    plan = Plan.objects.create(rollback=rollback, number=1, digest="d", body={})
    Approval.objects.create(plan=plan, voter=lead, vote=Approval.Vote.APPROVE, roles="Tech Lead")
    return rollback


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}")
def test_each_role_makes_the_move_or_is_told_why_not(
    row: tuple[str, str, str, str, dict[str, bool]], matrix: None, tmp_path: Path
) -> None:
    machine, state, move, target, may = row
    requester, lead = person("asks", "Ada Asks", Role.ON_CALL), person("votes", "Vera Votes", Role.TECH_LEAD)
    for number, (name, role) in enumerate(PEOPLE.items()):
        by = person(f"by{number}", "Bo Tries", role) if role else None
        with transaction.atomic():
            made = make(machine, state, requester, lead, tmp_path)
            obj = type(made).objects.locked(made.pk)
            if may[name]:
                written = advance(obj, move, by=by, note="tried")
                assert (written.source, written.target) == (state, target)
                assert str(type(made).objects.get(pk=made.pk).state) == target
            else:
                with pytest.raises(NotAllowed):
                    advance(obj, move, by=by)
                assert not rows_of(made).exists()
            transaction.set_rollback(True)


def test_what_the_table_does_not_name_is_refused(matrix: None, tmp_path: Path) -> None:
    """Every pair of state and move that no transition joins."""
    requester, lead = person("asks", "Ada Asks", Role.ON_CALL), person("votes", "Vera Votes", Role.TECH_LEAD)
    names: dict[str, type[StateModel]] = {
        "Incident": Incident,
        "Action item": ActionItem,
        "Post-mortem": PostMortem,
        "Restore point": RestorePoint,
        "Rollback": Rollback,
    }
    tried = 0
    for machine, model in names.items():
        known = {(each.source, each.name) for each in moves(model)}
        for state, _ in states(model):
            for move in sorted({name for _, name in known}):
                if (state, move) in known:
                    continue
                with transaction.atomic():
                    made = make(machine, state, requester, lead, tmp_path)
                    with pytest.raises(MoveRefused):
                        advance(type(made).objects.locked(made.pk), move, by=lead)
                    transaction.set_rollback(True)
                tried += 1
    assert tried > 150
    assert set(names.values()) == set(machines())
