from __future__ import annotations

from django.contrib.auth.models import User

from rollbacks import actions
from rollbacks.models import Rollback
from tests.rollbacks.commands.conftest import Give


def test_no_go_says_what_is_missing(give: Give, planned: Rollback) -> None:
    said = give("rollback_checklist", planned.pk, "--json")
    assert said.code == 1
    assert "  [ ] Notify stakeholders of rollback plan: nobody has said so yet" in said.out
    assert "  [x] Determine rollback scope: High, multiple components: Plan 1" in said.out
    assert "No-go, missing: Identify exact issue and root cause" in said.out
    assert (said.json["go"], said.json["items"]["evidence"]) == (False, "later")


def test_go(give: Give, planned: Rollback, oncall: User) -> None:
    for item in ("issue", "version", "told-plan"):
        actions.tick(planned.pk, by=oncall, item=item, note="Yes")
    said = give("rollback_checklist", planned.pk)
    assert (said.code, said.out.splitlines()[-1]) == (0, "Go: everything before the rollback is done.")
    assert "[x] Identify exact issue and root cause: Amara Okafor, Yes" in said.out


def test_approving_tells_it_and_does_not_refuse(give: Give, planned: Rollback, tech_lead: User) -> None:
    said = give("approve", planned.pk, "--as", "techlead")
    assert said.code == 0
    assert "No-go, missing: " in said.out
    assert "is approved" in said.out


def test_wrong_state(give: Give, planned: Rollback, oncall: User) -> None:
    actions.cancel(planned.pk, by=oncall)
    said = give("rollback_checklist", planned.pk)
    assert (said.code, said.err.strip()) == (1, f"Rollback {planned.pk} is cancelled: it has no checklist.")


def test_bad_input(give: Give, planned: Rollback) -> None:
    said = give("rollback_checklist", 999)
    assert (said.code, said.err.strip()) == (2, f"There is no rollback 999. The newest is {planned.pk}.")
