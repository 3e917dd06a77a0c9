"""The whole story on a real host: asked for here, carried out there, by a worker that is not root."""

from __future__ import annotations

from rollbacks.models import RollbackLogEntry
from tests.hosts.host import OWNER
from tests.hosts.managed import Managed
from tests.hosts.portal import Portal


def test_a_bad_release_is_rolled_back_on_a_host_and_the_unit_restarted_by_systemd(
    portal: Portal, agents: Managed
) -> None:
    good = agents.good
    point = portal.manage("backup", agents.name, "--as", "devops", "--reason", "Before 1.3.0", "--wait", "--json").json
    assert point["state"] == "verified"
    bad = agents.break_it()
    assert bad["commit"] != good["commit"]
    before = agents.show("MainPID")

    asked = portal.ask(agents, point["tag"])
    portal.approve(asked)
    rollback = portal.await_state(asked.pk, "completed")

    assert agents.health() == (200, "1.2.0")
    now = agents.look()
    assert (now["commit"], now["uncommitted"], now["broken"]) == (good["commit"], [], "")
    assert (now["packages"], now["files"]) == (good["packages"], good["files"])
    assert agents.show("MainPID") not in ("0", before)
    assert agents.show("ActiveState") == "active"
    assert int(rollback.run.steps.get(name="process").facts["pid"]) == int(agents.show("MainPID"))
    entry = RollbackLogEntry.objects.get(rollback=rollback)
    assert entry.outcome == "succeeded"
    assert entry.outage_seconds is not None
    assert entry.outage_seconds < 5
    workers = agents.host.run("ps", "-o", "user=", "-C", "python", "-C", "python3").split()
    assert set(workers) == {OWNER}
    portal.manage("verify_ledger")


def test_a_service_that_ignores_term_is_killed_by_systemd_and_the_switch_goes_on(
    portal: Portal, agents: Managed
) -> None:
    agents.break_it()
    agents.change_unit("KillSignal=SIGCONT\nTimeoutStopSec=2")
    rollback = portal.await_state(portal.approved(agents).pk, "completed")
    agents.await_release("1.2.0", 200)
    printed = portal.printed(rollback, "switch")
    stopped = float(printed.partition("stopped in ")[2].partition(" s")[0])
    assert 2 <= stopped < 12, printed


def test_a_switch_outlives_the_worker_that_launched_it(portal: Portal, agents: Managed) -> None:
    """systemd ends what it finds of a unit with it, unless the unit says otherwise (docs/hosts.md)."""
    agents.break_it()
    agents.make_slow()
    rollback = portal.approved(agents)
    agents.await_sign("starts")
    agents.host.run("pkill", "-KILL", "-f", "celery -A portal worker")

    rollback = portal.await_state(rollback.pk, "completed")
    agents.await_release("1.2.0", 200)
    assert portal.moves(rollback).count("step switch taken over") == 1
    journals = agents.inside(".rollback/switches").glob("*-there.out")
    printed = max(journals, key=lambda path: path.stat().st_mtime).read_text()
    assert printed.count("stopped in") == 1, printed
