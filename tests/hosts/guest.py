"""What is done on a host itself, by the owner of the sample there: `python -m tests.hosts.guest VERB HOME`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portal.sample import layout
from rollbacks.tools import environment, files, git

UNWATCHED = ("artifacts", "logs")  # the service writes there
WATCHED = ("config/agents.config.json", ".env")


def lay_out(home: Path) -> dict[str, Any]:
    """Release 1.2.0, with its history, environment and state."""
    home.mkdir(parents=True)
    (home / "backups").mkdir(mode=0o700)
    layout.make_repository(home)
    layout.make_environment(layout.root(home))
    layout.make_state(layout.root(home))
    return look(home)


def deploy_bad(home: Path) -> dict[str, Any]:
    """Release 1.3.0, as a person deploys it, but for the restart."""
    root = layout.root(home)
    layout.git(root, "checkout", "--quiet", "--force", "-B", "main", layout.BAD_BRANCH)
    layout.git(root, "clean", "--quiet", "--force", "-d")
    layout.update_environment(root)
    return look(home)


def edit(home: Path) -> dict[str, Any]:
    """What people do on a host: a change that nobody committed, a new file, one that is staged, another key."""
    root = layout.root(home)
    (root / "README.md").write_text("edited on the host\n")
    (root / "note.txt").write_text("not in git\n")
    (root / "tasks.py").write_text("# staged on the host\n")
    layout.git(root, "add", "tasks.py")
    (root / ".env").write_text("ORCHESTRATION_API_KEY=changed-on-the-host\n")
    return look(home)


def look(home: Path) -> dict[str, Any]:
    """All that a rollback may change, by its hashes."""
    root = layout.root(home)
    staged = [each for each in root.glob(".rollback/stage/*/tree") if each.is_dir()]
    live = environment.current(root / ".venv")
    return {
        "commit": git.head(root).commit,
        "branch": git.head(root).branch,
        "tree": git.tree_state(root, UNWATCHED),
        "index": layout.git(root, "write-tree"),
        "uncommitted": [each.path for each in git.uncommitted(root)],
        "packages": environment.freeze(root / ".venv"),
        "environment": [live.kind, live.target],
        "files": {name: files.sha256(root / name) for name in WATCHED},
        "staged": [[each.path for each in git.uncommitted(tree)] for tree in staged],
        "broken": layout.git(root, "fsck", "--no-dangling", "--no-progress"),
    }


VERBS: dict[str, Callable[[Path], dict[str, Any]]] = {each.__name__: each for each in (lay_out, deploy_bad, edit, look)}

if __name__ == "__main__":
    print(json.dumps(VERBS[sys.argv[1]](Path(sys.argv[2]))))
