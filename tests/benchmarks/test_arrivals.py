"""How long a tool waits for an answer when it sends 1,000 messages a minute: the web part as `make up` starts it."""

from __future__ import annotations

import http.client
import json
import os
import time

from tests.benchmarks import report
from tests.benchmarks.test_pages import served

A_MINUTE = 1000
SECONDS = int(os.environ.get("ARRIVAL_SECONDS", "60"))
KEYS = 50  # troubles; all other messages are repeats
LIMIT = 0.300  # seconds: the 95th percentile


def test_arrivals() -> None:
    with served() as (port, _rows, driver):
        token = driver.ask("add_source")
        seconds = sent(port, token)
        counted = driver.ask("counted")
    assert counted == {"alerts": KEYS, "messages": len(seconds)}, "none is lost, and none declares a second incident"
    told(seconds)
    assert report.percentile(seconds, 95) < LIMIT


def sent(port: int, token: str) -> list[float]:
    """One message every 60 ms, whether the last was answered late or not: what waited counts as waited."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    took, began = [], time.perf_counter()
    for number in range(A_MINUTE * SECONDS // 60):
        due = began + number * 60 / A_MINUTE
        time.sleep(max(0.0, due - time.perf_counter()))
        body = json.dumps({"key": f"trouble {number % KEYS}", "title": "Agents answer 500", "system": "agents-007"})
        connection.request("POST", "/in/bench/", body, headers)
        response = connection.getresponse()
        said = response.read()
        assert response.status == 200, said
        took.append(time.perf_counter() - due)
    return took


def told(seconds: list[float]) -> None:
    p50, p95 = (report.percentile(seconds, percent) * 1000 for percent in (50, 95))
    text = f"""
{A_MINUTE:,} messages a minute of one source, {len(seconds):,} in all, {KEYS} troubles and their repeats, over HTTP to
one uvicorn process, with three years of use in the database. From when a message was due to the last byte of its
answer: half within {p50:.0f} ms, 95 % within {p95:.0f} ms, the slowest {max(seconds) * 1000:.0f} ms. Promised: 95 %
within {LIMIT * 1000:.0f} ms.
"""
    report.tell("The arrivals", text, where=report.machine(report.sqlite()))
