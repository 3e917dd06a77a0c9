from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import time_machine

from portal import tags

NOON = datetime(2026, 3, 6, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.36, "0.36 s"),
        (0.4, "0.4 s"),
        (0.999, "1 s"),
        (4.21, "4.2 s"),
        (9.99, "10 s"),
        (12, "12 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration(seconds: float | None, said: str) -> None:
    assert tags.duration(seconds) == said


def test_ago() -> None:
    with time_machine.travel(NOON, tick=False):
        shown = tags.ago(NOON - timedelta(minutes=5))
        assert "5 min ago" in shown
        assert 'datetime="2026-03-06T11:55:00.000Z"' in shown
        assert 'title="2026-03-06 11:55:00 UTC"' in shown
        assert 'data-format="ago"' in shown
        assert "in 3 h" in tags.ago(NOON + timedelta(hours=3))
    assert tags.ago(None) == "–"


def test_how_long_it_has_been_so() -> None:
    with time_machine.travel(NOON, tick=False):
        assert ">for 5 min</time>" in tags.lasting(NOON - timedelta(minutes=5))
        assert ">just now</time>" in tags.lasting(NOON)
        assert ">1 min 5 s</time>" in tags.elapsed(NOON - timedelta(seconds=65))
    assert tags.lasting(None) == tags.elapsed(None) == "–"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("0123456789abcdef0123456789abcdef01234567", "0123456789"),
        ("backup-20260306-120000", "backup-20260306-120000"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
    ],
)
def test_where_a_rollback_goes(target: str, said: str) -> None:
    assert tags.aim(target) == said


def test_clock() -> None:
    assert 'datetime="2026-03-06T12:00:00.000Z"' in tags.clock(NOON)
    assert "12:00" in tags.clock(NOON)


@pytest.mark.parametrize(
    ("count", "said"),
    [(None, "–"), (0, "0 B"), (812, "812 B"), (4200, "4.2 kB"), (31_000_000, "31 MB"), (5e15, "5000 TB")],
)
def test_size(count: int | None, said: str) -> None:
    assert tags.size(count) == said


def test_a_state_is_escaped() -> None:
    shown = tags.state(SimpleNamespace(state="<b>", get_state_display=lambda: "<i>"))
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "&lt;i&gt;" in shown


def test_lines_are_escaped() -> None:
    shown = tags.lines("<b>x</b>\nhttps://example.org/a?b=1&c=2")
    assert "&lt;b&gt;x&lt;/b&gt;<br>" in shown
    assert 'href="https://example.org/a?b=1&amp;c=2"' in shown
    assert "<script>" not in tags.lines("javascript:alert(1) <script>")
