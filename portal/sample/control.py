"""What people do to the sample: start and stop its service manager, and deploy a release that does not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from portal.sample.layout import BAD_BRANCH, PROGRAM, git, root, supervisor, update_environment
from portal.supervision import wait_until


class NotRunningError(RuntimeError):
    """The sample's service manager does not run."""


def start_supervisor(home: Path) -> None:
    """Starts the sample's service manager in the background, and with it the service. Nothing to do if it runs."""
    manager = supervisor(home)
    if manager.answers():
        return
    subprocess.run([sys.executable, "-m", "supervisor.supervisord", "-c", str(manager.config)], check=True)
    if not wait_until(manager.answers, 10):
        raise TimeoutError(f"the sample's supervisord does not answer: see {manager.config.with_suffix('.log')}")


def stop_supervisor(home: Path) -> None:
    """Ends the sample's service manager, and with it the service."""
    supervisor(home).shutdown()


def deploy_bad(home: Path) -> str:
    """Deploys release 1.3.0 as a person would, and returns its commit: check it out, install, restart.

    It starts, its tests pass, and its health answers 500. It can be deployed again and again: after a rollback, main
    is brought to the release once more. Edits that nobody committed are stashed, not lost. NotRunningError, with
    nothing changed, where there is no service manager to restart the service.
    """
    checkout = root(home)
    if not supervisor(home).answers():
        raise NotRunningError("the sample's service manager does not run: start it with make up")
    if git(checkout, "status", "--porcelain"):
        git(
            checkout, "stash", "push", "--quiet", "--include-untracked", "--message", "set aside before deploying 1.3.0"
        )
    git(checkout, "checkout", "--quiet", "-B", "main", BAD_BRANCH)
    update_environment(checkout)
    supervisor(home).restart(PROGRAM)
    return git(checkout, "rev-parse", "HEAD")
