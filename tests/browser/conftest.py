"""The whole portal as `make up` starts it, and Chromium. Marked `browser`: run by `make browser` and .ci/run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from portal.stack import port_is_free

PROJECT = Path(__file__).resolve().parents[2]
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDE = {"width": 1280, "height": 900}
SOON = 60_000  # milliseconds: what a person would see within seconds, on a machine that does other things too
ZONE = "Europe/Madrid"  # the reader's; the portal's is UTC

expect.set_options(timeout=SOON)


@dataclass(frozen=True)
class Portal:
    url: str
    home: Path


@pytest.fixture(scope="session")
def portal() -> Iterator[Portal]:
    home = Path(tempfile.mkdtemp(prefix="portal-browser-"))
    port = next(number for number in range(8700, 8800) if port_is_free(number))
    kept = [name for name in os.environ if name in ("PATH", "HOME", "LANG") or name.startswith(("PIP_", "UV_", "SSL_"))]
    environment = {name: os.environ[name] for name in kept}
    said = home / "up.out"
    with said.open("w") as out:
        started = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port)],
            cwd=PROJECT,
            env={**environment, "PORTAL_HOME": str(home), "PORTAL_DEMO": "on"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: "The portal is ready" in said.read_text(), 240, said.read_text)
        yield Portal(f"http://127.0.0.1:{port}", home)
    finally:
        started.send_signal(signal.SIGINT)
        started.wait(90)
        shutil.rmtree(home, ignore_errors=True)


def wait_for(done: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, portal: Portal) -> Iterator[Page]:
    context = browser.new_context(base_url=portal.url, viewport=WIDE, timezone_id=ZONE)  # type: ignore[arg-type]
    context.set_default_timeout(SOON)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield opened
    context.close()
    assert not errors
