from __future__ import annotations

from django.contrib.auth.models import User

from rollbacks.models import Approval, Rollback
from tests.conftest import again
from tests.rollbacks.commands.conftest import Give, Manage


def test_it_works(manage: Manage, planned: Rollback, tech_lead: User) -> None:
    said = manage("reject", planned.pk, "--as", "techlead", "--reason", "Fix forward", "--json")
    assert said.code == 0, said.err
    assert said.out.splitlines()[0] == f"Rollback {planned.pk} is rejected"
    assert (said.json["id"], said.json["state"], said.json["system"]) == (planned.pk, "rejected", "agents")
    vote = Approval.objects.get()
    assert (vote.voter, vote.vote, vote.reason) == (tech_lead, "reject", "Fix forward")


def test_it_needs_a_reason(give: Give, planned: Rollback, tech_lead: User) -> None:
    missing = give("reject", planned.pk, "--as", "techlead")
    assert (missing.code, "--reason" in missing.err) == (2, True)
    empty = give("reject", planned.pk, "--as", "techlead", "--reason", " ", "--json")
    assert (empty.code, empty.json["state"]) == (1, "awaiting_approval")
    assert "Say why you reject it" in empty.err
    assert again(planned).state == "awaiting_approval"


def test_nobody_rejects_their_own(give: Give, planned: Rollback, oncall: User) -> None:
    said = give("reject", planned.pk, "--as", "oncall", "--reason", "x")
    assert (said.code, "you asked for it" in said.err) == (1, True)


def test_who_comes_second_is_told_who_was_faster(give: Give, approved: Rollback, tech_lead2: User) -> None:
    said = give("reject", approved.pk, "--as", "techlead2", "--reason", "Wait", "--json")
    assert (said.code, said.json["state"]) == (1, "approved")
    assert "was approved by Henrik Lindqvist" in said.err
