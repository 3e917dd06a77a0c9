"""For a power cut exactly at a boundary: the host's worker (`celery … --include tests.hosts.paused`) stands still at
the boundary that a file names, and says so by another file. Nobody but the test's power cut ends that."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.chaos.worker import NEVER, Cut, arm

WISH = Path("/srv/cut.json")
SIGN = Path("/srv/at-the-boundary")


def wished() -> Cut:
    return Cut(*json.loads(WISH.read_text())) if WISH.exists() else NEVER


def stand_still() -> None:
    SIGN.touch()
    while True:
        time.sleep(60)


arm(wished, stand_still)
