"""`/progress` and `/metrics` of a run, for as long as it runs."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from stockpot.errors import ExitCode, Refused
from stockpot.metrics.progress import Progress

PATIENCE_S = 10.0
"""How long one caller may take to ask; each of them has a thread."""


class _ProgressCollector(Collector):
    """The progress of a run as Prometheus reads it."""

    def __init__(self, progress: Progress, verb: str) -> None:
        self._progress = progress
        self._verb = verb

    def collect(self) -> Iterator[Metric]:
        now = self._progress.snapshot()
        for name, text, value in (
            ("stockpot_run_step", "Steps done in the phase", now.step),
            ("stockpot_run_total_steps", "Steps of the phase", now.total_steps),
            ("stockpot_run_phase_elapsed_seconds", "Time in the phase", now.elapsed_s),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["verb", "phase"])
            gauge.add_metric([self._verb, now.phase], value)
            yield gauge
        figures = GaugeMetricFamily(
            "stockpot_run_figure", "What was measured last", labels=["verb", "figure"]
        )
        for figure, value in sorted(now.figures.items()):
            figures.add_metric([self._verb, figure], value)
        yield figures


@contextmanager
def serve_progress(
    progress: Progress, *, verb: str, host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """Answer `/progress` (JSON) and `/metrics` while the context lasts.

    Args:
        progress: What to tell.
        verb: The label of its metrics.
        host: The address to listen on.
        port: 0: any free one.

    Yields:
        The URL that it is asked under from this machine, without a path.

    Raises:
        Refused: The port is taken, or the host is not ours (exit 6).
    """
    registry = CollectorRegistry()
    registry.register(_ProgressCollector(progress, verb))
    ProcessCollector(registry=registry)

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S

        def do_GET(self) -> None:
            if self.path == "/progress":
                body, kind = json.dumps(asdict(progress.snapshot())).encode(), "application/json"
            elif self.path == "/metrics":
                body, kind = generate_latest(registry), CONTENT_TYPE_LATEST
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: who asks for progress asks often."""

    server = _listening(host, port, Handler)
    thread = threading.Thread(target=server.serve_forever, name="progress", daemon=True)
    thread.start()
    try:
        yield _url(host, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def _listening(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    kind = _Server6 if ":" in host else ThreadingHTTPServer
    try:
        return kind((host, port), handler)
    except OSError as error:
        raise Refused(
            f"Port {port} of {host} cannot be used for /progress: {error.strerror}.",
            help="name another with --progress HOST:PORT; port 0 is any free one",
            exit_code=ExitCode.PORT_TAKEN,
        ) from error


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
