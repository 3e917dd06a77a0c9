from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from orchestration import __version__
from orchestration.coordinator import AgentCoordinator
from orchestration.metrics import MetricsCollector
from orchestration.service import make_app


class Client:
    """Calls the application in this process."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        sent = json.dumps(body).encode()
        environ: dict[str, Any] = {
            "PATH_INFO": path,
            "REQUEST_METHOD": "GET" if body is None else "POST",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(sent)),
            "wsgi.input": io.BytesIO(sent),
        } | headers
        setup_testing_defaults(environ)
        status: list[str] = []
        answer = b"".join(self.app(environ, lambda line, headers, problem=None: status.append(line)))
        return int(status[0].split()[0]), answer.decode()


@pytest.fixture()
def client(coordinator: AgentCoordinator, tmp_path: Path) -> Client:
    return Client(make_app(coordinator, MetricsCollector(tmp_path / "artifacts"), api_key="key"))


def test_health(client: Client) -> None:
    status, answer = client.ask("/health")
    assert (status, json.loads(answer)["status"], json.loads(answer)["release"]) == (200, "ok", __version__)


def test_a_run_needs_the_key(client: Client) -> None:
    assert client.ask("/runs", {"goal": "sort"})[0] == 401


def test_a_run_is_answered_and_counted(client: Client) -> None:
    status, answer = client.ask("/runs", {"goal": "collect and sort"}, HTTP_X_API_KEY="key")
    assert (status, json.loads(answer)["steps"]) == (200, ["collect", "sort"])
    assert "1 runs, 2 steps planned" in client.ask("/")[1]


def test_the_page_says_since_when(client: Client) -> None:
    assert "Up for" in client.ask("/")[1]
