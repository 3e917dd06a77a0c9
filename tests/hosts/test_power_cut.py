"""The host loses its power while it is being rolled back. What was written and not synced is lost with it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.auth.models import User

from portal.supervision import wait_until
from rollbacks import actions
from rollbacks.models import Rollback, System
from tests.hosts.host import OWNER, PORTAL, PYTHON
from tests.hosts.managed import Managed
from tests.hosts.portal import Portal

Look = dict[str, Any]


def check_is_good(agents: Managed, found: Look) -> None:
    """The goal, hash by hash: the good release's code, packages and configuration, and the secrets as they were."""
    now, good = agents.look(), agents.good
    assert (now["commit"], now["uncommitted"], now["broken"]) == (good["commit"], [], "")
    assert (now["packages"], now["files"]) == (good["packages"], {**good["files"], ".env": found["files"][".env"]})
    agents.await_release("1.2.0", 200)
    assert agents.show("ActiveState") == "active"


def check_is_as_found(agents: Managed, found: Look) -> None:
    assert agents.look() == found
    agents.await_release("1.3.0", 500)
    assert agents.show("ActiveState") == "active"


@pytest.mark.parametrize("moment", ["stops", "starts"])
def test_a_power_cut_in_the_switch_is_survived(portal: Portal, agents: Managed, moment: str) -> None:
    found = agents.break_it()
    agents.make_slow()
    rollback = portal.approved(agents)
    agents.await_sign(moment)

    agents.host.kill()
    assert Rollback.objects.get(pk=rollback.pk).state == "running"
    agents.host.start()

    ended = portal.await_state(rollback.pk, "completed", "reverted")
    check_is_good(agents, found) if ended.state == "completed" else check_is_as_found(agents, found)
    assert ended.run.claims > 2
    portal.manage("verify_ledger")


def test_a_power_cut_in_the_undo_is_survived_with_all_that_people_had_changed_on_the_host(
    portal: Portal, agents: Managed
) -> None:
    agents.break_it()
    found = agents.edit()
    agents.make_slow()
    rollback = portal.approved(agents)
    agents.await_sign("starts")
    agents.forget_signs()
    actions.abort(rollback.pk, by=User.objects.get(username="oncall"), note="The wrong release")
    agents.await_sign("starts")

    agents.host.kill()
    assert Rollback.objects.get(pk=rollback.pk).state == "reverting"
    agents.host.start()

    portal.await_state(rollback.pk, "reverted")
    check_is_as_found(agents, found)
    portal.manage("verify_ledger")


@pytest.mark.parametrize("step", ["tree", "switch"])
def test_what_a_step_says_is_done_is_on_disk(portal: Portal, agents: Managed, step: str) -> None:
    found = agents.break_it()
    rollback = portal.approved(agents)
    portal.await_step(rollback, step, "done")

    agents.host.kill()
    agents.host.start(worker=False)

    safety = rollback.run.steps.get(name="safety").facts
    assert portal.tag(agents, safety["restore_point"]["tag"]) == safety["snapshot"]
    if step == "switch":
        check_is_good(agents, found)
    else:
        assert agents.look() == {**found, "staged": [[]]}

    agents.host.start_worker()
    portal.await_state(rollback.pk, "completed")
    check_is_good(agents, found)


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
