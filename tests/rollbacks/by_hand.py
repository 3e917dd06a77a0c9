"""A backup as the guide has people make it, to the letter of its section "Pre-Deployment Backup"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

GUIDE = """
git tag -a backup-$(date +%Y%m%d-%H%M%S) -m "Pre-deployment backup"
cp config/agents.json config/agents.json.backup
pip freeze > requirements.backup.txt
tar -czf artifacts-backup-$(date +%Y%m%d).tar.gz artifacts/
git rev-parse HEAD > DEPLOYED_VERSION.txt
"""
PIP = '#!/bin/sh\necho "tool==1.2"\n'
NOTHING = "#!/bin/sh\n"  # a pip that is not there, or has no packages: the guide's line leaves an empty file
DATE = '#!/bin/sh\nexec "{date}" --date="$AT" "$@"\n'


def by_hand(root: Path, at: str = "2026-03-01 11:00:00", without: str = "", pip: str = PIP) -> str:
    """Give the guide's commands at that time (`without`: but for the one that has this in it). Returns the tag."""
    programs = root.parent / "programs"  # a pip that has one package, and a clock that says `at`
    programs.mkdir(exist_ok=True)
    for name, text in (("pip", pip), ("date", DATE.format(date="/bin/date"))):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    words = "\n".join(line for line in GUIDE.splitlines() if not without or without not in line)
    environment = {**os.environ, "AT": at, "TZ": "UTC", "GIT_COMMITTER_DATE": f"{at} +0000"}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    started = [path for path in made_by(root) if path.exists()]
    before = {path: path.stat().st_mtime for path in started}
    subprocess.run(["sh", "-ec", words], cwd=root, env=environment, check=True)
    seconds = int(subprocess.check_output(["/bin/date", "--utc", f"--date={at} UTC", "+%s"]))
    for path in made_by(root):
        if path.exists() and path.stat().st_mtime != before.get(path):
            os.utime(path, (seconds + 1, seconds + 1))
    return "backup-" + at.replace("-", "").replace(":", "").replace(" ", "-")


def made_by(root: Path) -> list[Path]:
    """The files that the guide's commands write."""
    names = ["config/agents.json.backup", "requirements.backup.txt", "DEPLOYED_VERSION.txt"]
    return [*(root / name for name in names), *root.glob("artifacts-backup-*.tar.gz")]
