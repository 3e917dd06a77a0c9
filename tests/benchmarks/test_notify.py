"""A thousand messages a minute, from the move to the mail server's yes: with all that `make up` starts, and again while
the worker that sends them is killed every ten seconds and a tool reports a thousand troubles a minute."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portal.stack import kill_group
from portal.supervision import Supervisor
from tests.benchmarks import report
from tests.benchmarks.place import Place, laid_out, running_portal
from tests.benchmarks.test_arrivals import LIMIT, sent
from tests.incidents.receivers import Mailbox, mail_server

MESSAGES, SECONDS = 1000, 60
PROMISED = 5.0  # seconds: the 99th percentile
KILL_EVERY = 10.0  # seconds

Seen = dict[str, Any]


def test_a_thousand_messages_a_minute() -> None:
    with mail_server() as box, laid_out() as place:
        place.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{box.port}"
        with running_portal(place) as port:
            calm = messages(place, box, "calm")
            token = place.driver.ask("add_source")
            with ThreadPoolExecutor(1) as tool, killing(place.home) as kills:
                answers = tool.submit(sent, port, token)
                hard = messages(place, box, "hard")
            counted = place.driver.ask("counted")
    told(calm, hard, answers.result(), len(kills))
    for seen in (calm, hard):
        assert seen["states"] == {"sent": MESSAGES}, "none is lost"
        assert set(seen["twice"]) <= set(seen["interrupted"]), "twice only where nobody knows, and it shows"
    assert not calm["twice"]
    assert len(kills) >= SECONDS / KILL_EVERY - 1
    assert counted["messages"] == len(answers.result()), "none of the tool's is lost"
    assert report.percentile(calm["took"], 99) < PROMISED
    assert report.percentile(answers.result(), 95) < LIMIT


def messages(place: Place, box: Mailbox, name: str) -> Seen:
    """Put them, one every 60 ms, and wait until the last is sent."""
    place.driver.ask("put_messages", name=name, count=MESSAGES, seconds=SECONDS)
    seen: Seen = place.driver.ask("outbox", name=name)
    arrived = Counter(str(mail["To"]) for mail in box.mails if str(mail["To"]).startswith(name))
    return seen | {"twice": [address for address, count in arrived.items() if count > 1]}


@contextmanager
def killing(home: Path) -> Iterator[list[int]]:
    """Meanwhile the worker that sends is killed, with all its processes; gives the PIDs, as they fall."""
    fallen: list[int] = []
    ended = threading.Event()

    def strike() -> None:
        while not ended.wait(KILL_EVERY):
            pid = next(each.pid for each in Supervisor(home / "stack.conf").processes() if each.name == "notifier")
            if pid:
                kill_group(pid)
                fallen.append(pid)

    striking = threading.Thread(target=strike, daemon=True)
    striking.start()
    try:
        yield fallen
    finally:
        ended.set()
        striking.join()


def told(calm: Seen, hard: Seen, answers: list[float], kills: int) -> None:
    def row(title: str, seen: Seen) -> list[str]:
        numbers = [f"{report.percentile(seen['took'], percent):.2f}" for percent in (50, 95, 99, 100)]
        return [title, *numbers, str(len(seen["interrupted"])), str(len(seen["twice"]))]

    head = ["", "p50, s", "p95, s", "p99, s", "longest", "cut short", "arrived twice"]
    p95 = report.percentile(answers, 95) * 1000
    text = f"""
{MESSAGES:,} messages within {SECONDS} s, each to an address of its own, written as a move writes them and sent by the
worker of `make up` to a real mail server; from the move to the server's yes:

{report.table(head, [row("undisturbed", calm), row(f"the worker killed {kills} times", hard)])}

Promised: 99 % within {PROMISED:.0f} s, none lost, and none twice but one that was cut short, which its page says. (What
a killed worker was sending is taken up again a minute later: only then is it certain that nobody sends it any more.)
While the worker was killed a tool reported {len(answers):,} troubles, too: 95 % of them were answered within
{p95:.0f} ms (promised: {LIMIT * 1000:.0f}), and none was lost.
"""
    report.tell("The messages", text, where=report.machine(report.sqlite()))
