"""Two people at once: in the same instant, each on a thread and a database connection of their own. One of them is
first, the others are told who was faster, and nothing else changes. The same on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction

from incidents import actions as incidents
from incidents import arriving
from incidents.arrivals.arrival import arrival
from incidents.models import Incident
from portal.ledger.models import Ledger, rows_of
from portal.ledger.moves import MoveRefused, advance
from portal.ledger.roles import Role
from rollbacks import actions, runner
from rollbacks.models import ACTIVE, Approval, RestorePoint, Rollback, System
from rollbacks.procedures.base import Plan
from tests.conftest import again, asked, git, person

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = 6
ROUNDS = 50
FEW = 8
PLAN = Plan({"goal": {}, "found": {}, "steps": []}, {})
Deed = Callable[[], Any]
AtOnce = Callable[..., list[Any]]


@pytest.fixture
def at_once() -> Iterator[AtOnce]:
    """at_once(deed, deed, …): does them in the same instant; what each returned, or why it was refused."""
    barrier = Barrier(PEOPLE)

    def begin(deed: Deed) -> Any:
        connection.ensure_connection()
        barrier.wait(30)
        try:
            return deed()
        except MoveRefused as refused:
            return refused

    def nothing() -> None:
        """For the threads that have no part in it."""

    def leave() -> None:
        connection.close()

    def run(*deeds: Deed) -> list[Any]:
        idle = [nothing] * (PEOPLE - len(deeds))
        return [each.result(60) for each in [pool.submit(begin, deed) for deed in (*deeds, *idle)]][: len(deeds)]

    with ThreadPoolExecutor(PEOPLE) as pool:
        yield run
        run(*[leave] * PEOPLE)


@pytest.fixture
def leads(db: None) -> list[User]:
    names = ["Ada", "Bo", "Cleo", "Dag", "Eve", "Finn"]
    return [person(f"lead{name}", f"{name} Leads", Role.TECH_LEAD) for name in names]


@pytest.fixture(autouse=True)
def _sound_at_the_end(transactional_db: None) -> Iterator[None]:
    """Whoever was first: no row is missing or doubled, and every state has its row."""
    yield
    call_command("verify_ledger")


def waiting(rollback: Rollback) -> Rollback:
    """Planned by the machine, without a look at the host."""
    with transaction.atomic():
        row = Rollback.objects.locked(rollback.pk)
        runner.keep_plan(row, PLAN, [])
        advance(row, "plan", by=None)
    return again(row)


def winner_of(results: list[Any]) -> Any:
    """The one result that is no refusal."""
    made = [each for each in results if not isinstance(each, MoveRefused)]
    assert len(made) == 1, results
    return made[0]


def refusals(results: list[Any]) -> list[str]:
    return [str(each) for each in results if isinstance(each, MoveRefused)]


def states(rollback: Rollback) -> list[str]:
    return [row.target for row in rows_of(rollback).exclude(target="").order_by("number")]


# --- arrivals -------------------------------------------------------------------------------------------------------


def test_of_six_messages_in_one_instant_one_declares_the_incident(at_once: AtOnce, devops: User) -> None:
    source, _ = arriving.add_source(by=devops, name="watch", kind="generic")
    for number in range(FEW):
        down = arrival(key=f"down {number}", title="Down")

        at_once(*[partial(actions.arrive, source, down)] * PEOPLE)

        alert = source.alerts.get(key=down.key)
        assert alert.count == PEOPLE
        assert [line.text for line in alert.incident.timeline.all()][1].startswith("watch said it 5 more times")
    assert Incident.objects.count() == FEW


def test_while_somebody_resolves_a_repeat_lands_in_the_old_incident_or_in_a_new_one(
    at_once: AtOnce, devops: User, oncall: User
) -> None:
    source, _ = arriving.add_source(by=devops, name="watch", kind="generic")
    for number in range(FEW):
        down = arrival(key=f"down {number}", title="Down")
        old = actions.arrive(source, down)
        assert old is not None
        incidents.acknowledge(old.incident_id, by=oncall)

        at_once(partial(incidents.resolve, old.incident_id, by=oncall), partial(actions.arrive, source, down))

        assert Incident.objects.get(pk=old.incident_id).state == "resolved"
        counts = sorted(source.alerts.filter(key=down.key).values_list("open", "count"))
        assert counts in ([(False, 2)], [(False, 1), (True, 1)])


# --- votes ----------------------------------------------------------------------------------------------------------


def test_of_six_approvals_in_one_instant_exactly_one_counts(
    at_once: AtOnce, system: System, incident: Incident, oncall: User, leads: list[User]
) -> None:
    faster = set()
    for _ in range(ROUNDS):
        rollback = waiting(asked(system, oncall, incident=incident))
        lines, rows = incident.timeline.count(), Ledger.objects.count()

        results = at_once(*(partial(actions.approve, rollback.pk, by=lead) for lead in leads))

        winner_of(results)
        vote = Approval.objects.get(plan__rollback=rollback)
        faster.add(vote.voter.username)
        name = vote.voter.get_full_name()
        said = rf"Rollback {rollback.pk} was approved by {name} \d s ago: it cannot be approved\."
        assert len(refusals(results)) == PEOPLE - 1
        assert all(re.fullmatch(said, each) for each in refusals(results)), refusals(results)
        assert states(rollback) == ["planning", "awaiting_approval", "approved"]
        assert Ledger.objects.count() == rows + 2, "the vote and the move, nothing else"
        assert incident.timeline.count() == lines + 1
        actions.cancel(rollback.pk, by=oncall)
    assert len(faster) > 1, "it was a race"


def test_a_vote_for_and_a_vote_against(at_once: AtOnce, system: System, oncall: User, leads: list[User]) -> None:
    for _ in range(FEW):
        rollback = waiting(asked(system, oncall))
        results = at_once(
            partial(actions.approve, rollback.pk, by=leads[0]),
            partial(actions.reject, rollback.pk, by=leads[1], note="Fix forward"),
        )
        state = winner_of(results).state
        assert states(rollback) == ["planning", "awaiting_approval", state]
        vote = Approval.objects.get(plan__rollback=rollback)
        assert (vote.vote, state) in (("approve", "approved"), ("reject", "rejected"))
        if state == "approved":
            actions.cancel(rollback.pk, by=oncall)


def test_approve_and_cancel(at_once: AtOnce, system: System, oncall: User, leads: list[User]) -> None:
    """An approved rollback can be cancelled, so both may happen, in this order only: what is cancelled stays so."""
    for _ in range(FEW):
        rollback = waiting(asked(system, oncall))
        approved, cancelled = at_once(
            partial(actions.approve, rollback.pk, by=leads[0]), partial(actions.cancel, rollback.pk, by=oncall)
        )
        assert cancelled.state == "cancelled"
        assert again(rollback).state == "cancelled"
        if isinstance(approved, MoveRefused):
            assert f"Rollback {rollback.pk} was cancelled by Amara Okafor" in str(approved)
            assert not Approval.objects.filter(plan__rollback=rollback).exists()
            assert states(rollback)[2:] == ["cancelled"]
        else:
            assert states(rollback)[2:] == ["approved", "cancelled"]


def test_approve_and_expire(
    at_once: AtOnce, system: System, oncall: User, leads: list[User], time_machine: Any
) -> None:
    """At its last instant the vote comes too late, whoever is faster: nothing that expires is approved before."""
    for _ in range(FEW):
        rollback = waiting(asked(system, oncall))
        time_machine.move_to(rollback.expires_at, tick=False)
        approved, expired, twice = at_once(
            partial(actions.approve, rollback.pk, by=leads[0]), runner.expire, runner.expire
        )
        assert len(expired) + len(twice) == 1, "once"
        assert again(rollback).state == "expired"
        if isinstance(approved, MoveRefused):
            late = ("was to be decided until", "was expired by the portal")  # as the sweep was slower or faster
            assert str(approved).startswith(tuple(f"Rollback {rollback.pk} {words}" for words in late))
        assert states(rollback)[2:] == ["expired"]


# --- one active rollback per system ---------------------------------------------------------------------------------


def test_two_requests_for_one_system(at_once: AtOnce, system: System, oncall: User, oncall2: User) -> None:
    """Both may be asked for; two workers plan them in the same instant, and one is refused with the other's number."""
    for _ in range(2):
        first, second = at_once(partial(asked, system, oncall), partial(asked, system, oncall2))
        at_once(partial(runner.carry, first.run.pk), partial(runner.carry, second.run.pk))
        for each in (first, second):  # the one whose worker found the system busy waits for the sweeper
            runner.carry(each.run.pk)
        made, refused = sorted((again(first), again(second)), key=lambda each: each.state)
        assert (made.state, refused.state) == ("awaiting_approval", "refused"), refused.trouble
        assert refused.trouble.startswith(f"Rollback {made.pk} of agents is awaiting approval")
        assert list(system.rollbacks.filter(state__in=ACTIVE)) == [made]
        actions.cancel(made.pk, by=made.requested_by)


def test_the_database_itself_allows_one_active_rollback(
    at_once: AtOnce, system: System, oncall: User, oncall2: User
) -> None:
    """Both plans look before either moves: the constraint stands behind the look."""
    first, second = asked(system, oncall), asked(system, oncall2)
    results = []

    def plan(rollback: Rollback) -> str:
        try:
            return waiting(rollback).state
        except Exception as error:
            return type(error).__name__

    results = at_once(partial(plan, first), partial(plan, second))
    assert sorted(results) == ["IntegrityError", "awaiting_approval"]


# --- incidents ------------------------------------------------------------------------------------------------------


def test_six_declare_in_one_instant(at_once: AtOnce, leads: list[User]) -> None:
    """Each has seen it: six incidents, each with its row and its line, none lost."""
    made = at_once(
        *(partial(incidents.declare, by=lead, title="Down", severity="high", scope="multiple") for lead in leads)
    )
    assert len({each.pk for each in made}) == PEOPLE
    assert Incident.objects.count() == Ledger.objects.filter(kind="incident", move="declare").count() == PEOPLE
    assert [each.timeline.get().by for each in made] == leads


def test_six_acknowledge_in_one_instant(at_once: AtOnce, system: System, oncall: User, leads: list[User]) -> None:
    for _ in range(FEW):
        incident = incidents.declare(by=oncall, title="Down", severity="high", scope="multiple")
        results = at_once(*(partial(incidents.acknowledge, incident.pk, by=lead) for lead in leads))
        owner = winner_of(results).acknowledged_by
        assert Incident.objects.get(pk=incident.pk).acknowledged_by == owner
        said = f"Incident {incident.pk} was acknowledged by {owner.get_full_name()}"
        assert all(each.startswith(said) for each in refusals(results))
        assert incident.timeline.filter(text__contains="acknowledged").count() == 1


def test_nobody_waits_for_each_other_in_a_circle(
    at_once: AtOnce, system: System, oncall: User, leads: list[User]
) -> None:
    """A vote writes to the incident's timeline while others move the incident, and the machine moves both."""
    for _ in range(FEW):
        incident = incidents.declare(by=oncall, title="Down", severity="high", scope="multiple")
        rollback = waiting(asked(system, oncall, incident=incident))
        at_once(
            partial(actions.approve, rollback.pk, by=leads[0]),
            partial(incidents.acknowledge, incident.pk, by=leads[1]),
            partial(incidents.note, incident.pk, by=leads[2], text="Looking"),
            partial(incidents.mitigate, incident.pk, by=leads[3]),
            partial(incidents.carry, incident.pk, "mitigate", note="The machine"),
            partial(actions.backup, system=system, by=leads[4]),
        )
        assert again(rollback).state == "approved"
        assert Incident.objects.get(pk=incident.pk).state == "mitigating"
        actions.cancel(rollback.pk, by=oncall)


def test_people_write_while_a_worker_carries_out(
    at_once: AtOnce, approved: Rollback, incident: Incident, oncall: User, leads: list[User]
) -> None:
    """A worker holds its run, and moves the rollback and its incident; nothing of that makes anybody wait for ever."""

    def write(lead: User) -> None:
        for _ in range(10):
            incidents.note(incident.pk, by=lead, text="Still looking")

    at_once(partial(runner.carry, approved.run.pk), *(partial(write, lead) for lead in leads[1:]))
    assert again(approved).state == "monitoring", again(approved).trouble
    assert Incident.objects.get(pk=incident.pk).state == "monitoring"
    assert incident.timeline.filter(text="Still looking").count() == 10 * (PEOPLE - 1)


# --- backups --------------------------------------------------------------------------------------------------------


def test_six_backups_in_one_instant(at_once: AtOnce, system: System, leads: list[User], checkout: Any) -> None:
    """Each gets a tag of its own; the workers make them one after the other, and all are sound."""
    points = at_once(*(partial(actions.backup, system=system, by=lead, reason=f"by {lead}") for lead in leads))
    assert len({point.tag for point in points}) == PEOPLE
    at_once(*(partial(runner.carry, point.run.pk) for point in points))
    for run in runner.due():  # as the sweeper hands on what found the system busy
        runner.carry(run.pk)
    assert set(RestorePoint.objects.values_list("state", "problem")) == {("verified", "")}
    assert sorted(git(checkout, "tag", "--list", "backup-*").splitlines()) == sorted(point.tag for point in points)
    made = {each.name for each in (checkout.parent / "backups").iterdir()}
    assert made == {"repository.git", *(point.tag for point in points)}
