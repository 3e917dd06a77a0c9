"""What a machine said goes into the ledger, a step's trouble and an incident's timeline, which nobody can take back: no
secret may stand there."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from logging.config import DictConfigurator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from incidents.models import Incident, TimelineEntry
from portal.ledger.models import Ledger, rows_of
from rollbacks import actions, runner
from rollbacks.heartbeat import masked
from rollbacks.models import RestorePoint, Rollback, Step, StepOutput, System
from rollbacks.procedures import backup, base
from rollbacks.procedures.known import PROCEDURES
from rollbacks.tools import manifest, probe, prober, service
from tests.conftest import again, asked, manifest_text
from tests.conftest import git as by_hand

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "super-secret-token"  # in the .env of the checkout


def kept_for_ever() -> str:
    rows = list(Ledger.objects.values_list("note", "details"))
    return json.dumps(rows) + "".join(TimelineEntry.objects.values_list("text", flat=True))


ADDRESS = f"http://portal:pa/ss{SECRET}"  # a password may hold what ends one elsewhere


def supervised(checkout: Path, port: int = 9) -> str:
    """A manifest whose supervisor wants a password. Nobody listens there."""
    service = f'[service]\nmanager = "supervisor"\nunit = "agents"\nurl = "http://portal:{SECRET}@127.0.0.1:{port}"\n'
    return manifest_text(checkout) + service


def test_the_ledger_keeps_a_manifest_without_the_password_in_it(matrix: None, checkout: Path, devops: User) -> None:
    system = actions.add_system(by=devops, text=supervised(checkout))[0]
    actions.add_system(by=devops, text=supervised(checkout, port=10))
    assert SECRET in System.objects.get(pk=system.pk).manifest.service.url, "the worker needs it"
    assert SECRET not in kept_for_ever()
    kept = str(rows_of(system)[0].data["manifest"])
    assert 'url = "http://•••@127.0.0.1:10"' in kept
    assert 'secrets = [".env"]' in kept, "which files hold secrets is none"


def test_a_supervisor_that_cannot_be_reached_is_told_without_its_password(
    matrix: None, checkout: Path, oncall: User, tech_lead: User
) -> None:
    text = supervised(checkout)
    with pytest.raises(service.ServiceError) as raised:
        service.for_service(manifest.parse(text).service).status()
    assert SECRET not in str(raised.value)
    assert "Supervisor cannot be reached at http://•••@127.0.0.1:9: " in str(raised.value)

    rollback = asked(actions.add_system(by=None, text=text)[0], oncall)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    steps = Step.objects.filter(run__rollback=rollback)
    output = "".join(StepOutput.objects.filter(step__in=steps).values_list("text", flat=True))
    assert "cannot be reached at http://•••@" in again(rollback).trouble
    assert SECRET not in kept_for_ever() + again(rollback).trouble + output + json.dumps(list(steps.values("facts")))


def test_a_supervisor_that_refuses_a_password_is_told_without_it() -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(401)

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        manager = service.Supervisor("agents", f"http://portal:short@127.0.0.1:{server.server_port}")
        with pytest.raises(service.ServiceError) as raised:
            manager.status()
        server.shutdown()
    assert "401 Unauthorized" in str(raised.value)
    assert "short" not in str(raised.value)


@pytest.mark.parametrize("table", ["service", "health"])
def test_an_address_that_is_refused_is_not_repeated_with_its_password(checkout: Path, table: str) -> None:
    manager = 'manager = "supervisor"\nunit = "agents"\n' if table == "service" else ""
    with pytest.raises(manifest.ManifestError) as raised:
        manifest.parse(f'{manifest_text(checkout)}\n[{table}]\n{manager}url = "{ADDRESS}@host:9001"\n')
    assert "http://•••@host:9001" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_the_passwords_of_a_manifest_and_of_the_portal_are_known_wherever_a_machine_says_them(
    matrix: None, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg and most clients tell the password that was refused without the address around it."""
    monkeypatch.setenv("DATABASE_URL", "postgres://portal:own%2Fpassword@db/portal")
    text = supervised(checkout).replace('"true"', '"curl -sf http://me:typed-in-it@127.0.0.1/"')
    system = actions.add_system(by=None, text=text)[0]
    said = f"refused: {SECRET}, own/password, own%2Fpassword, typed-in-it"
    assert masked(system, said) == "refused: •••, •••, •••, •••"


def test_a_log_repeats_no_password() -> None:
    """Not even in a traceback: what cannot be reached is named there with its address."""
    given: dict[str, Any] = settings.LOGGING
    formatter = DictConfigurator(given).configure_formatter(given["formatters"]["line"])
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    try:
        raise ConnectionError(f"no route to {ADDRESS}@host")
    except ConnectionError:
        handler.handle(logging.LogRecord("x", logging.ERROR, "", 0, "looking at agents", (), sys.exc_info()))
    assert "ConnectionError: no route to http://•••@host" in written.getvalue()
    assert SECRET not in written.getvalue()


def test_a_health_url_is_on_no_command_line_and_on_no_page_with_its_password(
    matrix: None, checkout: Path, client_for: Callable[[User], Client], engineer: User
) -> None:
    url = f"http://me:{SECRET}@127.0.0.1:9/health?token=abcdefgh"
    actions.add_system(by=None, text=f'{manifest_text(checkout)}\n[health]\nurl = "{url}"\n')
    shown = client_for(engineer).get("/systems/agents/").content.decode()
    assert "http://•••@127.0.0.1:9/health?token=•••" in shown
    assert SECRET not in shown
    file = checkout.parent / "probe.jsonl"
    prober.start(url, file)
    try:
        lines = [each.read_bytes() for each in Path("/proc").glob("[0-9]*/cmdline") if each.exists()]
        (line,) = [each for each in lines if bytes(file) in each]
        assert SECRET.encode() not in line
    finally:
        prober.stop(file)


def test_the_last_line_of_a_failing_test_command_shows_no_secret(
    incident: Incident, checkout: Path, oncall: User, tech_lead: User
) -> None:
    """`cannot connect with <token>` is how most programs end."""
    system = actions.add_system(by=None, text=manifest_text(checkout, "echo cannot connect: $(cat .env); exit 1"))[0]
    rollback = asked(system, oncall, incident=incident)
    runner.carry(rollback.run.pk)
    actions.approve(rollback.pk, by=tech_lead)
    runner.carry(rollback.run.pk)
    assert again(rollback).state == "reverted"
    step = Step.objects.get(run__rollback=rollback, name="try")
    assert "cannot connect: API_TOKEN=•••" in step.trouble
    assert "cannot connect" in kept_for_ever()
    assert SECRET not in kept_for_ever() + step.trouble + again(rollback).trouble


def test_an_undo_that_fails_shows_none(watched: Rollback, oncall: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of a held rollback are read by everybody who is called."""

    def refuse(context: base.Context) -> None:
        raise base.StepFailed(f"stop: no access with {SECRET}")

    code = PROCEDURES["code"]
    steps = (*code.steps[:-1], replace(code.steps[-1], undo=refuse))
    monkeypatch.setitem(PROCEDURES, "code", replace(code, steps=steps))
    actions.abort(watched.pk, by=oncall, note="It is worse")
    runner.carry(watched.run.pk)
    assert (again(watched).state, again(watched).trouble[-24:]) == ("held", "stop: no access with •••")
    assert SECRET not in kept_for_ever()


def test_a_service_that_tells_its_token_is_kept_without_it(system: System) -> None:
    runner.look(system, probe.Health(False, True, 500, 3, f"500: no access with {SECRET}"))
    assert System.objects.get(pk=system.pk).health_detail == "500: no access with •••"


def test_a_remote_that_refuses_the_tag_is_kept_without_its_password(matrix: None, checkout: Path, oncall: User) -> None:
    by_hand(checkout, "remote", "add", "origin", f"http://portal:{SECRET}@127.0.0.1:9/agents.git")
    text = manifest_text(checkout).replace("[commands]", "push_tags = true\n\n[commands]")
    point = actions.backup(system=actions.add_system(by=None, text=text)[0], by=oncall)
    runner.carry(point.run.pk)
    assert RestorePoint.objects.get(pk=point.pk).state == "verified"
    push = Step.objects.get(run__restore_point=point, name=backup.PROCEDURE.steps[-1].name)
    output = "".join(push.output.values_list("text", flat=True))
    assert "could not be pushed" in output
    assert SECRET not in output + json.dumps(push.facts) + kept_for_ever()
