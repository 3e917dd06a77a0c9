from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from rollbacks.models import RestorePoint, System
from tests.rollbacks.by_hand import by_hand
from tests.rollbacks.commands.conftest import Give


@pytest.fixture
def tags(system: System, checkout: Path, transactional_db: None) -> list[str]:
    """Two, which nobody has looked for yet."""
    return [by_hand(checkout, f"2026-03-0{day} 11:00:00") for day in (1, 2)]


def test_all_of_them(give: Give, tags: list[str], engineer: User) -> None:
    said = give("adopt_backups", "agents", "--local", "--json", "--as", "engineer")
    assert said.code == 0
    assert [each["tag"] for each in said.json["points"]] == [f"{tag}-by-hand" for tag in reversed(tags)]
    assert {each["state"] for each in said.json["points"]} == {"verified"}
    assert f"{tags[0]}-by-hand: lacks packages: requirements.backup.txt is not of this backup" in said.out
    said = give("adopt_backups", "agents", "--as", "engineer")
    assert (said.code, "No backup of agents that was made by hand lies on local." in said.out) == (0, True)


def test_one_of_them(give: Give, tags: list[str], engineer: User) -> None:
    assert give("adopt_backups", "agents", tags[0], "--as", "engineer").code == 0
    assert RestorePoint.objects.get().tag == f"{tags[0]}-by-hand"


def test_one_that_is_not_there_is_refused(give: Give, tags: list[str], engineer: User) -> None:
    said = give("adopt_backups", "agents", "backup-1", "--as", "engineer")
    assert (said.code, f"There is: {tags[1]}, {tags[0]}." in said.err) == (1, True)


def test_one_that_fails_is_1(give: Give, tags: list[str], engineer: User, checkout: Path) -> None:
    (checkout.parent / "backups").write_text("a file where a directory should be")
    assert give("adopt_backups", "agents", tags[0], "--local", "--as", "engineer").code == 1


def test_who_may_not_is_told_why(give: Give, tags: list[str], auditor: User) -> None:
    said = give("adopt_backups", "agents", "--as", "auditor")
    assert (said.code, "cannot take over a backup of agents" in said.err) == (1, True)


def test_an_unknown_system_is_wrong_words(give: Give, system: System, engineer: User) -> None:
    assert give("adopt_backups", "agentz", "--as", "engineer").code == 2
