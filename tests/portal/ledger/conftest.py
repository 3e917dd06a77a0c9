from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from incidents import actions
from incidents.models import Incident


@pytest.fixture
def incident(oncall: User) -> Incident:
    """Two rows of the ledger: declared, acknowledged."""
    declared = actions.declare(by=oncall, title="Checkout answers 500", severity="high", scope="multiple")
    return actions.acknowledge(declared.pk, by=oncall, note="On it")


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs verify_ledger: its exit code, and all that it said."""

    def run(*arguments: str) -> tuple[int, str]:
        try:
            call_command("verify_ledger", *arguments)
        except SystemExit as ended:
            return int(str(ended.code)), "".join(capsys.readouterr())
        return 0, "".join(capsys.readouterr())

    return run
