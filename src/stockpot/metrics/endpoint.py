"""Serves `/progress` and `/metrics` of a run while it runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from stockpot.metrics.http_server import Response, serve_routes
from stockpot.metrics.progress import Progress


class _ProgressCollector(Collector):
    """Exports the progress of a run to Prometheus."""

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
    """Serve `/progress` (JSON) and `/metrics` while the context lasts.

    Args:
        progress: The progress to serve.
        verb: The value of the metrics' label `verb`.
        host: The address to listen on.
        port: The port; 0 chooses a free one.

    Yields:
        The URL of the server from this machine, without a path.

    Raises:
        Refused: The port is taken, or the host is not an address of this machine (exit 6).
    """
    registry = CollectorRegistry()
    registry.register(_ProgressCollector(progress, verb))
    ProcessCollector(registry=registry)

    def progress_now() -> Response:
        return Response(200, "application/json", json.dumps(asdict(progress.snapshot())).encode())

    def metrics() -> Response:
        return Response(200, CONTENT_TYPE_LATEST, generate_latest(registry))

    with serve_routes(
        {"/progress": progress_now, "/metrics": metrics},
        host=host,
        port=port,
        port_help="name another with --progress HOST:PORT; port 0 is any free one",
    ) as url:
        yield url
