"""The night when the host itself is gone: its backups are on another one, which has never seen the system."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.conftest import MakeHost
from tests.hosts.host import WHEELS, Host
from tests.hosts.managed import UNIT, Managed
from tests.hosts.portal import Portal

OFFLINE = ("PIP_NO_INDEX=1", f"PIP_FIND_LINKS={WHEELS}", "UV_OFFLINE=1")


@pytest.fixture(scope="module")
def point(portal: Portal, agents_of_module: Managed) -> dict[str, Any]:
    """The last backup of a host whose power is off from now on."""
    agents_of_module.edit()
    made = portal.manage(
        "backup", agents_of_module.name, "--as", "devops", "--reason", "Nightly", "--wait", "--json"
    ).json
    assert made["state"] == "verified"
    agents_of_module.good = agents_of_module.look()
    agents_of_module.host.settle()
    agents_of_module.host.kill()
    return made


@pytest.fixture(scope="module")
def bare(portal: Portal, layer: Path) -> Iterator[Host]:
    """Debian with git and Python. The portal was never on it, and cannot be reached from it."""
    host = Host("bare")
    host.create()
    host.start()
    wheels = str(WHEELS).lstrip("/")
    shutil.copytree(layer / wheels, host.tree / wheels)
    yield host
    host.destroy()


def carry_backups_over(lost: Managed, host: Host) -> Managed:
    """What an off-site copy of the backups, and the unit's file, give a new host."""
    there = Managed(host, lost.name, lost.port)
    backups = str(there.home / "backups").lstrip("/")
    shutil.copytree(lost.host.tree / backups, host.tree / backups, symlinks=True, dirs_exist_ok=True)
    return there


def test_restore_sh_brings_it_back_where_the_portal_was_never_installed(
    agents_of_module: Managed, point: dict[str, Any], bare: Host
) -> None:
    there = carry_backups_over(agents_of_module, bare)
    unit = UNIT.format(name=there.name, owner="root", root=there.root, port=there.port)
    bare.write(f"/etc/systemd/system/{there.name}.service", unit)
    assert bare.run("ls", "/opt", check=False) == "", "the portal is here"
    kept = there.home / "backups"

    bare.run("systemctl", "daemon-reload")
    said = bare.run("env", *OFFLINE, "bash", str(kept / point["tag"] / "restore.sh"))

    assert f"Done: {there.name} is at {point['tag']}" in said
    there.await_release("1.2.0", 200)
    assert bare.run("git", "-C", str(there.root), "rev-parse", "HEAD") == agents_of_module.good["commit"]
    assert "changed-on-the-host" in there.inside(".env").read_text(), "its secrets are those of the backup"
    assert sorted(each.name for each in there.inside("artifacts").iterdir()) == sorted(
        each.name for each in agents_of_module.inside("artifacts").iterdir()
    )


def test_a_full_rollback_brings_it_back_on_another_host(
    portal: Portal, agents_of_module: Managed, point: dict[str, Any], make_host: MakeHost
) -> None:
    host = make_host("beta")
    there = carry_backups_over(agents_of_module, host)
    host.shell(f"chown -R portal: {there.home}")
    host.write(
        f"/etc/systemd/system/{there.name}.service",
        UNIT.format(name=there.name, owner="portal", root=there.root, port=there.port),
    )
    host.run("systemctl", "daemon-reload")
    portal.add(there)

    asked = portal.ask(there, point["tag"], "--procedure", "full")
    portal.approve(asked)
    portal.await_state(asked.pk, "completed")

    there.await_release("1.2.0", 200)
    good, now = agents_of_module.good, there.look()
    assert (now["commit"], now["packages"], now["files"]) == (good["commit"], good["packages"], good["files"])
    assert now["broken"] == ""
    assert host.run("stat", "--format=%U", str(there.root)) == "portal"
    portal.manage("verify_ledger")
