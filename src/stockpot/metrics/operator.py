"""The operator's Prometheus metrics, in a registry of their own.

Series of a soup are built at each scrape from its latest facts, so that they end with the soup.
Counters (reconciliations, errors) have no soup label, and stay.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stockpot.api.states import ShardState
from stockpot.metrics.facts import SoupFacts

_ROUND_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


SoupName = tuple[str, str]
"""Namespace and name: the first two labels of all its series."""


class OperatorMetrics:
    """The metrics of one operator. Safe to use from any thread."""

    def __init__(self, *, version: str, now_s: Callable[[], float] = time.time) -> None:
        """Create metrics without any soup.

        Args:
            version: The version label of `stockpot_build_info`.
            now_s: Returns seconds since 1970; ages are computed at each scrape.
        """
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._soups: dict[SoupName, SoupFacts] = {}
        self._progress: dict[SoupName, Mapping[str, float]] = {}
        self._now_s = now_s
        self._round_s = Histogram(
            "stockpot_reconcile_duration_seconds",
            "One round of one soup, from reading its objects to the last write.",
            buckets=_ROUND_BUCKETS_S,
            registry=self.registry,
        )
        self._errors = Counter(
            "stockpot_reconcile_errors",
            "Rounds that ended with an error, by its class; each is tried again.",
            ["error"],
            registry=self.registry,
        )
        self._leads = Gauge(
            "stockpot_leader", "1 while this operator is the one that acts.", registry=self.registry
        )
        build = Gauge("stockpot_build_info", "1.", ["version"], registry=self.registry)
        build.labels(version).set(1)
        ProcessCollector(registry=self.registry)
        self.registry.register(_SoupCollector(self._snapshot, now_s))

    def observe_round(self, key: SoupName, facts: SoupFacts | None, duration_s: float) -> None:
        """Record a successful reconciliation.

        Args:
            key: Namespace and name of the soup.
            facts: The facts of the soup; None if it does not exist any more.
            duration_s: How long the reconciliation took.
        """
        self._round_s.observe(duration_s)
        if facts is None:
            self.forget(key)
            return
        with self._lock:
            self._soups[key] = facts

    def observe_failure(self, error: BaseException, duration_s: float) -> None:
        """Record a failed reconciliation; the soup keeps its latest facts."""
        self._round_s.observe(duration_s)
        self._errors.labels(type(error).__name__).inc()

    def observe_progress(self, key: SoupName, ratios: Mapping[str, float]) -> None:
        """Set the training progress of a soup's shards, 0 to 1, by shard name.

        It replaces the soup's earlier progress: a shard that is missing has no series any more.
        """
        with self._lock:
            if ratios:
                self._progress[key] = dict(ratios)
            else:
                self._progress.pop(key, None)

    def forget(self, key: SoupName) -> None:
        """Drop every series of a soup that is gone."""
        with self._lock:
            self._soups.pop(key, None)
            self._progress.pop(key, None)

    def set_leader(self, leads: bool) -> None:
        """Set whether this operator leads or stands by."""
        self._leads.set(1 if leads else 0)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Register the gauge of the queue's length, read at each scrape. Call it once."""
        Gauge(
            "stockpot_queue_depth", "Soups that wait for a round.", registry=self.registry
        ).set_function(depth)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _snapshot(self) -> tuple[dict[SoupName, SoupFacts], dict[SoupName, Mapping[str, float]]]:
        with self._lock:
            return dict(self._soups), dict(self._progress)


class _SoupCollector(Collector):
    """Collects the series that have a soup label."""

    def __init__(
        self,
        snapshot: Callable[
            [], tuple[dict[SoupName, SoupFacts], dict[SoupName, Mapping[str, float]]]
        ],
        now_s: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._now_s = now_s

    def describe(self) -> Iterator[Metric]:
        """Return nothing: the names are fixed, and nothing else registers them."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        soups, progress = self._snapshot()
        families = _Families()
        for (namespace, name), facts in sorted(soups.items()):
            families.add_soup((namespace, name), facts, self._now_s())
        for key, ratios in sorted(progress.items()):
            for shard, ratio in sorted(ratios.items()):
                families.progress.add_metric([*key, shard], ratio)
        yield from families.all()


class _Families:
    """The metric families of one scrape, filled soup by soup."""

    def __init__(self) -> None:
        self.shards = _gauge("shards", "Shards of a soup, by where they are.", "state")
        self.progress = _gauge(
            "training_progress_ratio", "How far the training of a shard is, 0 to 1.", "shard"
        )
        self.quality = _gauge(
            "revision_quality", "What was measured of a revision.", "revision", "metric"
        )
        self.baseline = _gauge(
            "baseline_quality", "What was measured of the base, beside the revisions'.", "metric"
        )
        self.revision = _gauge(
            "current_revision_number", "Promotions up to the revision that serves; 0: the base."
        )
        self.deletions = _gauge(
            "deletions_in_flight", "Shards and records that are being unlearned."
        )
        self.deletion_age_s = _gauge(
            "deletion_age_seconds",
            "Since the oldest deletion that is under way was asked for; 0 where none is.",
        )
        self.overdue = _gauge(
            "deletions_overdue",
            "Unlearnings that take longer than the soup's unlearning.deadlineSeconds.",
        )
        self.receipts = _gauge("receipts", "Receipts in the soup's chain.")
        self.omissions = _gauge(
            "data_omissions",
            "Files, pictures and captions of a shard that are not used exactly as given.",
            "shard",
            "reason",
        )
        self.held_out_omissions = _gauge(
            "held_out_omissions",
            "Files, pictures and captions that are not used as given to measure what serves.",
            "reason",
        )
        self.servers = _gauge("servers", "Servers of a soup, by whether they are ready.", "ready")

    def all(self) -> Iterator[Metric]:
        yield from vars(self).values()

    def add_soup(self, soup: SoupName, facts: SoupFacts, now_s: float) -> None:
        for state in ShardState:
            self.shards.add_metric([*soup, state], facts.shards.get(state, 0))
        for revision, figures in facts.quality.items():
            for metric, value in figures.items():
                self.quality.add_metric([*soup, revision, metric], value)
        for metric, value in facts.baseline.items():
            self.baseline.add_metric([*soup, metric], value)
        if facts.revision_number is not None:
            self.revision.add_metric(soup, facts.revision_number)
        since_s = facts.unlearning_since_s
        self.deletions.add_metric(soup, len(since_s))
        # The API server's clock may be ahead of the operator's.
        self.deletion_age_s.add_metric(soup, max(0.0, now_s - min(since_s)) if since_s else 0.0)
        late = [begin_s for begin_s in since_s if now_s - begin_s > facts.unlearning_deadline_s]
        self.overdue.add_metric(soup, len(late))
        self.receipts.add_metric(soup, facts.receipts)
        for shard, counts in facts.omissions.items():
            for reason, count in counts.items():
                self.omissions.add_metric([*soup, shard, reason], count)
        for reason, count in facts.held_out_omissions.items():
            self.held_out_omissions.add_metric([*soup, reason], count)
        self.servers.add_metric([*soup, "true"], facts.ready_servers)
        self.servers.add_metric([*soup, "false"], facts.servers - facts.ready_servers)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"stockpot_{name}", text, labels=["namespace", "soup", *labels])
