from __future__ import annotations

from pathlib import Path

from rollbacks.procedures import journal


def test_what_is_written_is_read_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    path = tmp_path / "1-there.json"
    journal.write(path, {"goal": {"commit": "a" * 40}, "began": 1.5})
    assert journal.read(path) == {"goal": {"commit": "a" * 40}, "began": 1.5}
    assert path.stat().st_mode & 0o777 == 0o600


def test_where_none_was_written_nothing_is_to_be_done(tmp_path: Path) -> None:
    assert journal.read(tmp_path / "none.json") == {}


def test_a_journal_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "1-there.json"
    journal.write(path, {"goal": {"commit": "a" * 4000}})
    journal.write(path, {"done": {"pid": 7}})
    assert journal.read(path) == {"done": {"pid": 7}}
    assert list(tmp_path.iterdir()) == [path]
