"""The HTTP service: GET /health, GET /, POST /runs."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from types import FrameType
from typing import Any

import humanize
import waitress
from bottle import Bottle, HTTPResponse, request

from orchestration import __version__
from orchestration.coordinator import ROOT, AgentCoordinator
from orchestration.metrics import MetricsCollector, get_metrics_collector

log = logging.getLogger("orchestrator")
STARTED = time.time()


def make_app(coordinator: AgentCoordinator, metrics: MetricsCollector, api_key: str = "") -> Bottle:
    """The WSGI application."""
    app = Bottle()
    said: set[str] = set()

    @app.get("/health")
    def health() -> HTTPResponse:
        answer = {"status": "ok", "release": __version__, "pid": os.getpid()}
        try:
            coordinator.check()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            if problem not in said:  # asked several times a second: one traceback is enough
                said.add(problem)
                log.exception("health check failed: %s", problem)
            return HTTPResponse(answer | {"status": "error", "error": problem}, status=500)
        return HTTPResponse(answer)

    @app.get("/")
    def page() -> str:
        counters = metrics.read()
        uptime = humanize.precisedelta(int(time.time() - STARTED))
        return (
            f"<!doctype html><title>agents-orchestration</title><h1>agents-orchestration {__version__}</h1>"
            f"<p>Planner on {coordinator.planner.model}, reviewer on {coordinator.reviewer.model}.</p>"
            f"<p>{counters['runs']} runs, {counters['steps']} steps planned. Up for {uptime}.</p>"
        )

    @app.post("/runs")
    def run() -> dict[str, Any]:
        if api_key and request.get_header("X-Api-Key") != api_key:
            raise HTTPResponse({"error": "X-Api-Key is missing or wrong"}, status=401)
        result = coordinator.run(request.json["goal"])
        metrics.count(result)
        return result

    return app


def api_key() -> str:
    """The key in .env; empty when there is none."""
    file = ROOT / ".env"
    lines = file.read_text().splitlines() if file.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line).get("ORCHESTRATION_API_KEY", "")


def stop(number: int, frame: FrameType | None) -> None:
    """Ends at once: every request is short, and the next release is waiting for the port."""
    log.info("release %s stopped by %s", __version__, signal.Signals(number).name)
    logging.shutdown()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="orchestration.service")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()

    (ROOT / "logs").mkdir(exist_ok=True)
    logging.basicConfig(
        filename=ROOT / "logs" / "orchestrator.log",
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        level=logging.INFO,
    )
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    metrics = get_metrics_collector()
    app = make_app(AgentCoordinator(), metrics, api_key())
    server = waitress.create_server(app, host=options.host, port=options.port, threads=4)
    metrics.remember("started", release=__version__, pid=os.getpid())
    log.info("release %s listens on %s:%s", __version__, options.host, options.port)
    server.run()


if __name__ == "__main__":
    main()
