from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from portal.ledger.models import rows_of
from rollbacks.models import System
from tests.conftest import manifest_text
from tests.rollbacks.commands.conftest import Give, Manage


@pytest.fixture
def file(checkout: Path) -> Path:
    written = checkout.parent / "system.toml"
    written.write_text(manifest_text(checkout))
    return written


def test_it_works(manage: Manage, give: Give, file: Path, checkout: Path, tech_lead: User) -> None:
    said = manage("add_system", file, "--json")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == "agents was added."
    assert said.json == {"system": "agents", "created": True}
    system = System.objects.get()
    assert system.manifest.root == checkout
    file.write_text(manifest_text(checkout, test="invoke test"))
    assert give("add_system", file, "--as", "techlead", "--json").json == {"system": "agents", "created": False}
    assert System.objects.get().manifest.commands == {"test": "invoke test"}
    assert [(row.move, row.actor_name) for row in rows_of(system)] == [
        ("change", "Henrik Lindqvist"),
        ("add", "the portal"),
    ]


def test_the_same_again_changes_nothing(give: Give, db: None, file: Path) -> None:
    assert [give("add_system", file).code for _ in range(2)] == [0, 0]
    assert rows_of(System.objects.get()).count() == 1


def test_a_missing_and_a_wrong_key_are_both_named_with_their_lines(give: Give, db: None, file: Path) -> None:
    file.write_text('[system]\nname = "agents"\nroot = 5\nartefacts = ["a"]\n\n[health]\nurl = "ftp://host"\n')
    said = give("add_system", file, "--json")
    assert said.code == 1
    for wrong in (
        "line 3, [system] root: has to be text in quotes",
        "line 4, [system] artefacts: there is no such key",
        "(did you mean artifacts?)",
        "line 1, [system] backups: is missing and required",
        "line 7, [health] url: 'ftp://host' has to start with http:// or https://",
    ):
        assert wrong in said.err
        assert wrong in said.json["trouble"]
    assert "nothing was changed" in said.err
    assert not System.objects.exists()


def test_what_is_no_toml_is_told_with_its_line(give: Give, db: None, file: Path) -> None:
    file.write_text('[system]\nname = "agents\n')
    said = give("add_system", file)
    assert (said.code, "line 2, column" in said.err, "this is not valid TOML" in said.err) == (1, True, True)


def test_a_file_that_cannot_be_read_is_wrong_words(give: Give, db: None, tmp_path: Path) -> None:
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\xff")
    for wrong in ("missing.toml", "picture.toml", "."):
        said = give("add_system", tmp_path / wrong)
        assert (said.code, f"{tmp_path / wrong} cannot be read" in said.err) == (2, True)
    assert give("add_system").code == 2
