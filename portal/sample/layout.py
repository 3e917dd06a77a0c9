"""Lays the sample out: a checkout with its history, its environment, its service manager and its manifest.

What is there already stays as it is, so that a second `make up` continues where the first one ended. The manifest is
written last: while it is missing, the layout was interrupted, and is made again from the start.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from portal.supervision import Program, Supervisor, program_section

NAME = "agents-orchestration-system"
PROGRAM = "agent-orchestration"
BAD_BRANCH = "release-1.3"
RELEASES = Path(__file__).resolve().parent / "releases"
DEPLOYER = ("Deployment", "deploy@agents.example")

MANIFEST = """\
[system]
name = {name}
environment = "production"
root = {root}
host = {host}
config = ["config/agents.config.json"]
secrets = [".env"]
requirements = "requirements.txt"
environment_dir = ".venv"
artifacts = ["artifacts"]
logs = ["logs"]
components = {{ planner = ["agents/planner.py"], reviewer = ["agents/reviewer.py"] }}
backups = {backups}
push_tags = true

[service]
manager = "supervisor"
unit = {unit}
url = {url}

[commands]
test = "invoke test"
validate_config = "invoke validate-config"
smoke = "python -c 'from orchestration.coordinator import AgentCoordinator'"
reset_metrics = "python -c 'from orchestration.metrics import get_metrics_collector; get_metrics_collector().reset()'"
component_test = "python -m pytest tests/test_{{component}}.py -v"

[health]
url = {health}
watch_minutes = 1
"""


class LayoutError(Exception):
    """A command of the layout failed; the text is what it said."""


def root(home: Path) -> Path:
    """The sample's checkout."""
    return home / "agents"


def supervisor(home: Path) -> Supervisor:
    """The sample's service manager."""
    return Supervisor(home / "supervisord.conf")


def health_url(home: Path) -> str:
    """Where the laid-out sample says how it is."""
    return str(tomllib.loads((home / "system.toml").read_text())["health"]["url"])


def lay_out(home: Path, *, say: Callable[[str], None], health_port: int, host: str = "local") -> Path:
    """Makes what is missing under `home`, and returns the path of the manifest."""
    home = home.absolute()
    manifest = home / "system.toml"
    if not manifest.exists():
        home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root(home), ignore_errors=True)
        shutil.rmtree(home / "agents.git", ignore_errors=True)
        say("sample: writing its repository and its releases")
        make_repository(home)
        say("sample: installing its requirements")
        make_environment(root(home))
        make_state(root(home))
    (home / "backups").mkdir(exist_ok=True)
    configure_service(home, health_port)
    write_manifest(manifest, home, health_port, host)
    return manifest


def git(directory: Path, *words: str, environment: Mapping[str, str] | None = None) -> str:
    """Runs git there. Nobody's own git configuration (signing, hooks, templates) has a say in the sample."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return run(["git", *words], directory, inherited | own | dict(environment or {}))


def run(command: list[str], directory: Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command of the layout; what it said is in the error when it fails."""
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LayoutError(f"{' '.join(command)} failed in {directory}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def make_repository(home: Path) -> None:
    """The checkout on its deployed release, the bad one ready on its branch, and a remote that has them all."""
    checkout = root(home)
    checkout.mkdir()
    git(checkout, "init", "--quiet", "--initial-branch=main")
    git(checkout, "config", "user.name", DEPLOYER[0])
    git(checkout, "config", "user.email", DEPLOYER[1])
    history = tomllib.loads((RELEASES / "history.toml").read_text())
    for row in history["commit"]:
        commit(checkout, row)
    git(checkout, "branch", BAD_BRANCH)
    git(checkout, "reset", "--quiet", "--hard", history["deployed"])

    git(home, "init", "--quiet", "--bare", "--initial-branch=main", "agents.git")
    git(checkout, "remote", "add", "origin", str(home / "agents.git"))
    git(checkout, "push", "--quiet", "--set-upstream", "origin", "main", BAD_BRANCH)
    git(checkout, "push", "--quiet", "origin", "--tags")


def commit(checkout: Path, row: Mapping[str, Any]) -> None:
    """One commit of the history, by its author and at its time. Times of files are not copied: git goes by them."""
    shutil.copytree(RELEASES / row["folder"], checkout, dirs_exist_ok=True, copy_function=shutil.copyfile)
    author, _, email = row["author"].removesuffix(">").partition(" <")
    at = f"{time.time() - row['days_ago'] * 86400:.0f} +0000"
    who = {
        "GIT_AUTHOR_NAME": author,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_AUTHOR_DATE": at,
        "GIT_COMMITTER_NAME": author,
        "GIT_COMMITTER_EMAIL": email,
        "GIT_COMMITTER_DATE": at,
    }
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", row["message"], environment=who)
    if "tag" in row:
        git(checkout, "tag", "--annotate", row["tag"], "--message", row["message"], environment=who)


def make_environment(checkout: Path) -> None:
    """A new virtual environment for the checkout's requirements, in the place of what is there.

    A link is only unlinked: what it points to is an environment that the portal keeps, and nobody may change that one.
    """
    place = checkout / ".venv"
    if place.is_symlink():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)
    uv = find_uv()
    if uv:
        run([uv, "venv", "--quiet", "--no-project", "--seed", "--python", sys.executable, ".venv"], checkout)
    else:
        run([sys.executable, "-m", "venv", ".venv"], checkout)
    install(checkout)


def update_environment(checkout: Path) -> None:
    """What a deployer does: installs the requirements into the live environment. A kept one is left, for a new one."""
    if (checkout / ".venv").is_symlink() or not (checkout / ".venv/bin/python").exists():
        make_environment(checkout)
    else:
        install(checkout)


def install(checkout: Path) -> None:
    """What the requirements name, compiled already: the first start is then as fast as any other.

    Copied out of uv's cache, not linked with it: who edits a file of this environment must not edit the cache.
    """
    uv = find_uv()
    if uv:
        words = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--link-mode", "copy", "--python", ".venv"]
    else:
        words = [str(checkout / ".venv/bin/python"), "-m", "pip", "install", "--quiet"]
    run([*words, "--requirement", "requirements.txt"], checkout)


def find_uv() -> str | None:
    """The portal's own uv, or one on PATH; without it the standard library and pip do the same, slower."""
    return shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def make_state(checkout: Path) -> None:
    """What a system that has been in use for a while has outside git: a secret, a history, counters, a log."""
    secret = checkout / ".env"
    secret.touch(mode=0o600)
    secret.write_text(f"ORCHESTRATION_API_KEY=sample-{secrets.token_hex(16)}\n")
    (checkout / "logs").mkdir(exist_ok=True)
    artifacts = checkout / "artifacts"
    artifacts.mkdir(exist_ok=True)
    goals = ["collect the notes and sort them", "write the summary, check the links", "publish the weekly report"]
    now = time.time()
    runs = [
        {"at": round(now - 3600 * (24 - hour), 3), "event": "run", "goal": goals[hour % 3], "steps": 1 + hour % 2}
        for hour in range(24)
    ]
    (artifacts / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in runs))
    counters = {"runs": len(runs), "steps": sum(int(str(line["steps"])) for line in runs), "remarks": 0}
    (artifacts / "metrics.json").write_text(json.dumps(counters, indent=2) + "\n")
    (artifacts / "weekly-report.md").write_text("# Weekly report\n\n24 runs, nothing to remark.\n")


def configure_service(home: Path, port: int) -> None:
    """The service manager's configuration: the service runs from the checkout, with the checkout's environment."""
    checkout = root(home)
    python = checkout / ".venv" / "bin" / "python"
    program = Program(
        PROGRAM,
        [str(python), "-m", "orchestration.service", "--port", str(port)],
        {"startsecs": 1, "startretries": 5, "stopsignal": "TERM", "stopwaitsecs": 10},
    )
    log = checkout / "logs" / "service.log"
    supervisor(home).configure([program_section(program, checkout, log)])


def write_manifest(manifest: Path, home: Path, port: int, host: str) -> None:
    """The manifest (DESIGN 7). JSON's strings are TOML's."""
    values = {
        "name": NAME,
        "root": str(root(home)),
        "host": host,
        "backups": str(home / "backups"),
        "unit": PROGRAM,
        "url": f"unix://{supervisor(home).socket}",
        "health": f"http://127.0.0.1:{port}/health",
    }
    made = manifest.with_suffix(".new")
    made.write_text(MANIFEST.format(**{key: json.dumps(value) for key, value in values.items()}))
    made.replace(manifest)
