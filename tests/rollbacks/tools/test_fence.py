"""A worker that was superseded is refused where it would write."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rollbacks.tools import ToolError, fence


def test_a_lower_token_is_refused(tmp_path: Path) -> None:
    state = tmp_path / ".rollback"
    fence.check(state, 1)  # nobody was here yet
    fence.hold(state, 3, "worker a")
    fence.hold(state, 3, "worker a")  # again is fine
    fence.check(state, 3)
    fence.hold(state, 5, "worker b")
    for refused in (lambda: fence.hold(state, 4, "worker a"), lambda: fence.check(state, 4)):
        with pytest.raises(fence.Superseded, match=r"token 5 \(worker b\), ours is 4"):
            refused()
    assert fence.read(state) == (5, "worker b")


def test_the_same_token_of_another_is_refused(tmp_path: Path) -> None:
    fence.hold(tmp_path, 3, "portal a")
    with pytest.raises(fence.Superseded, match="two portals"):
        fence.hold(tmp_path, 3, "portal b")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"token": "x"}', "3"])
def test_a_fence_that_cannot_be_read_refuses(tmp_path: Path, text: str) -> None:
    (tmp_path / "fence").write_text(text)
    for refused in (lambda: fence.hold(tmp_path, 9, "a"), lambda: fence.check(tmp_path, 9)):
        with pytest.raises(ToolError, match="cannot be read"):
            refused()


def test_of_many_at_once_the_highest_stays(tmp_path: Path) -> None:
    def hold(token: int) -> None:
        try:
            fence.hold(tmp_path, token, f"worker {token}")
        except fence.Superseded:
            refused.append(token)

    refused: list[int] = []
    threads = [threading.Thread(target=hold, args=(token,)) for token in range(1, 21)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert fence.read(tmp_path) == (20, "worker 20")
    assert 20 not in refused
