"""`demo` where it cannot be played. (Played in full by .ci/run, which fails unless the service is healthy again.)"""

from __future__ import annotations

from pathlib import Path

from portal import stack
from tests.portal.test_up import manage
from tests.rollbacks.commands.conftest import database_url


def test_a_portal_without_the_sample_is_said_with_what_to_do(transactional_db: None, tmp_path: Path) -> None:
    with stack.only_one(tmp_path, "http://127.0.0.1:8000/"):
        ended = manage(tmp_path, "demo", DATABASE_URL=database_url())
    assert ended.returncode == 1
    assert "already running: http://127.0.0.1:8000/" in ended.stdout, "it is played there"
    assert "has no sample, or no demo people" in ended.stderr
    assert "make demo PORTAL_HOME=" in ended.stderr
    assert "Traceback" not in ended.stderr
