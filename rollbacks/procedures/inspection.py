"""What a system looks like now, for the pages: they may be served where the host cannot be reached."""

from __future__ import annotations

from rollbacks.procedures import adopt
from rollbacks.procedures.base import Facts, in_words
from rollbacks.tools import ToolError, environment, files, git
from rollbacks.tools.manifest import Manifest

SHOWN = 20  # commits offered as targets, and backups to be taken over


def inspect(manifest: Manifest) -> Facts:
    """{"commit", "branch", "log": [...], "uncommitted", "packages", "free", "hand_made": [...]}, or {"problem"} in
    words."""
    try:
        head = git.check_checkout(manifest.root)
        tags = git.tags(manifest.root, "*")
        releases: dict[str, list[str]] = {}
        for name, commit, _ in tags:
            if not name.startswith(("backup-", "failed-")):
                releases.setdefault(commit, []).append(name)
        return {
            "commit": head.commit,
            "branch": head.branch,
            "log": [
                {
                    "sha": each.sha,
                    "subject": each.subject,
                    "author": each.author,
                    "at": each.at.isoformat(),
                    "tags": releases.get(each.sha, []),
                }
                for each in git.log(manifest.root, SHOWN)
            ],
            "uncommitted": len(git.uncommitted(manifest.root)),
            "packages": len(environment.freeze(manifest.live_environment).splitlines()),
            "free": files.free_bytes(manifest.root),
            "hand_made": adopt.offered(manifest, SHOWN),
        }
    except (ToolError, OSError, ValueError) as error:
        return {"problem": in_words(error)}
