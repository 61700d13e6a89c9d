"""The inference server's Prometheus metrics, in a registry per server, never the global one."""

from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_PREPARE_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_COMMIT_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1)
UPLOADING = "uploading"
DISCONNECT_STAGES = (UPLOADING, "queued", "drawing")
"""How far a request had come when its client left; the last two are the worker's."""


class ServerMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "stockpot_serving_requests",
            "Requests for pictures, by the status code of their answer; 499: the client left.",
            ["code"],
            registry=self.registry,
        )
        self.request_s = Histogram(
            "stockpot_serving_request_duration_seconds",
            "From a request for pictures to the end of its answer.",
            buckets=_REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.disconnects = Counter(
            "stockpot_serving_client_disconnects",
            "Requests whose client left before the answer, by how far they had come.",
            ["stage"],
            registry=self.registry,
        )
        for stage in DISCONNECT_STAGES:
            self.disconnects.labels(stage=stage)
        self.images = Counter(
            "stockpot_serving_images", "Pictures that were answered with.", registry=self.registry
        )
        self.prepare_s = Histogram(
            "stockpot_serving_prepare_duration_seconds",
            "From a grant to its revision being warm beside the one that serves.",
            buckets=_PREPARE_BUCKETS_S,
            registry=self.registry,
        )
        self.prepare_failures = Counter(
            "stockpot_serving_prepare_failures",
            "Grants whose revision could not be prepared.",
            registry=self.registry,
        )
        self.unauthentic_grants = Counter(
            "stockpot_serving_unauthentic_grants",
            "Grants that were refused because no key of the operator signed them for this server.",
            registry=self.registry,
        )
        self.commit_s = Histogram(
            "stockpot_serving_commit_duration_seconds",
            "How long requests could not begin because of a commit.",
            buckets=_COMMIT_BUCKETS_S,
            registry=self.registry,
        )

    def watch(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        """Add gauges that are read at scrape time: by name, the help text and the reader."""
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def images_sent(self) -> float:
        """How many pictures were sent."""
        return self.registry.get_sample_value("stockpot_serving_images_total") or 0

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
