"""The host loses its power while it is being rolled back. What was written and not synced is lost with it."""

from __future__ import annotations

import time

import pytest

from portal.supervision import wait_until
from rollbacks.models import Rollback, System
from tests.hosts.host import OWNER, PORTAL, PYTHON
from tests.hosts.managed import Managed
from tests.hosts.portal import Portal


def check_ended_well(portal: Portal, agents: Managed, rollback: Rollback, found: dict, good: dict) -> None:  # type: ignore[type-arg]
    """Completed with the goal, or reverted to what was found; hash by hash, with the service up and nothing lost."""
    ended = portal.await_state(rollback.pk, "completed", "reverted")
    now = agents.look()
    assert now["broken"] == ""
    if ended.state == "completed":
        assert (now["commit"], now["uncommitted"]) == (good["commit"], [])
        assert (now["packages"], now["files"]) == (good["packages"], good["files"])
        agents.await_release("1.2.0", 200)
    else:
        assert now == found
        agents.await_release("1.3.0", 500)
    assert agents.show("ActiveState") == "active"
    portal.manage("verify_ledger")


@pytest.mark.parametrize("moment", ["stops", "starts"])
def test_a_power_cut_in_the_switch_is_survived(portal: Portal, agents: Managed, moment: str) -> None:
    good, found = agents.good, agents.break_it()
    agents.make_slow()
    rollback = portal.approved(agents)
    agents.await_sign(moment)

    agents.host.kill()
    assert Rollback.objects.get(pk=rollback.pk).state == "running"
    agents.host.start()

    check_ended_well(portal, agents, rollback, found, good)
    assert Rollback.objects.get(pk=rollback.pk).run.claims > 2


@pytest.mark.parametrize("step", ["tree", "switch"])
def test_what_a_step_says_is_done_is_on_disk(portal: Portal, agents: Managed, step: str) -> None:
    good, found = agents.good, agents.break_it()
    rollback = portal.approved(agents)
    portal.await_step(rollback, step, "done")

    agents.host.kill()
    agents.host.start(worker=False)

    now = agents.look()
    assert now["broken"] == ""
    safety = rollback.run.steps.get(name="safety").facts
    assert portal.tag(agents, safety["restore_point"]["tag"]) == safety["snapshot"]
    if step == "switch":
        assert (now["commit"], now["uncommitted"]) == (good["commit"], [])
        assert (now["packages"], now["files"]) == (good["packages"], good["files"])
        agents.await_release("1.2.0", 200)
    else:
        assert now["staged"] == [[]]
        assert {**now, "staged": []} == found

    agents.host.start_worker()
    portal.await_state(rollback.pk, "completed")
    check_ended_well(portal, agents, rollback, found, good)


HOLD = """
import time, django
django.setup()
from django.db import transaction
from rollbacks.models import System
with transaction.atomic():
    System.objects.locked(%d)
    open("/srv/holds", "w").close()
    time.sleep(600)
"""


def test_what_a_dead_host_held_in_the_database_is_given_back(portal: Portal, agents: Managed) -> None:
    """It was in a transaction, which everybody else queues behind: the database has to notice that nobody is there."""
    host, system = agents.host, System.objects.get(name=agents.name)
    host.write("/opt/portal/hold.py", HOLD % system.pk)
    run = f"--uid={OWNER} -p EnvironmentFile=/etc/portal/worker.env -p WorkingDirectory={PORTAL}"
    host.shell(f"systemd-run --quiet {run} -E DJANGO_SETTINGS_MODULE=portal.settings {PYTHON} hold.py")
    assert wait_until((host.tree / "srv/holds").exists, 30), host.journal("*")

    host.kill()
    began = time.monotonic()
    portal.manage("backup", agents.name, "--as", "devops", "--reason", "While the host is off")
    print(f"given back after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 40
