from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollbacks import actions
from rollbacks.models import System
from tests.conftest import manifest_text
from tests.rollbacks.commands.conftest import Give

SERVICE = """
[service]
manager = "systemd"
unit = "{unit}"
"""


@pytest.fixture
def unit(system: System, checkout: Path) -> str:
    """The system is run by systemd; its unit has a colon, which a sudoers file would take for its own."""
    actions.add_system(by=None, text=manifest_text(checkout) + SERVICE.format(unit="agents:eu@1"))
    return "agents:eu@1.service"


def test_the_polkit_rule_names_the_unit_the_verbs_and_the_user(give: Give, unit: str) -> None:
    """Polkit reads JavaScript; what it does with it is held by tests/hosts."""
    said = give("host_rights", "agents")
    assert (said.code, said.err) == (0, "")
    assert f'action.lookup("unit") == {json.dumps(unit)}' in said.out
    assert '["start", "stop", "restart", "reset-failed"].indexOf(action.lookup("verb")) >= 0' in said.out
    assert 'subject.user == "portal"' in said.out


def test_the_sudoers_file_has_each_command_to_the_letter(give: Give, unit: str) -> None:
    said = give("host_rights", "agents", "--format", "sudoers", "--user", "deploy")
    rule = said.out.splitlines()[-1]
    assert rule == (
        r"deploy ALL=(root) NOPASSWD: /usr/bin/systemctl start agents\:eu@1.service, "
        r"/usr/bin/systemctl stop agents\:eu@1.service, /usr/bin/systemctl restart agents\:eu@1.service, "
        r"/usr/bin/systemctl reset-failed agents\:eu@1.service"
    )
    assert all(line.startswith("#") for line in said.out.splitlines()[:-1])


def test_an_unknown_system_or_user_is_wrong_words(give: Give, unit: str) -> None:
    assert give("host_rights", "agentz").code == 2
    for user in ("root ALL", "a,b", "", "%wheel", 'x" || true || "'):
        said = give("host_rights", "agents", "--user", user)
        assert (said.code, said.out) == (2, ""), user


def test_a_system_without_systemd_needs_no_right(give: Give, system: System) -> None:
    said = give("host_rights", "agents")
    assert (said.code, said.out) == (1, "")
    assert "is not run by systemd" in said.err
