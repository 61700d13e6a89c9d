"""`/progress` and `/metrics` of a run, for as long as it runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from stockpot.metrics.listening import Answer, answering
from stockpot.metrics.progress import Progress


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

    def progress_now() -> Answer:
        return Answer(200, "application/json", json.dumps(asdict(progress.snapshot())).encode())

    def metrics() -> Answer:
        return Answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))

    with answering(
        {"/progress": progress_now, "/metrics": metrics},
        host=host,
        port=port,
        instead="name another with --progress HOST:PORT; port 0 is any free one",
    ) as url:
        yield url
