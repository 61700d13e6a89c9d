"""Measures one operator process: from its start until it is settled, at rest, and in a storm."""

import itertools
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.scale.audit import AuditLog, by_verb, until_tombstone_s
from tests.benchmarks.scale.population import CLIENTS, SoupOf
from tests.controlplane.admin import Admin
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.resources import DATA_SHARDS

PATIENCE_S = 3600.0
SETTLED_S = 5.0
"""No round for so long, and none queued: a soup that waits for something is polled sooner."""


@dataclass
class Figures:
    """What was measured of one population."""

    shards: int
    soups: int
    namespaces: int
    receipts: int = 0
    revisions: int = 0
    settled_s: float = 0.0
    """From the start of the process to the last round before nothing was left to do."""
    settled_cpu_s: float = 0.0
    settled_requests: dict[str, int] = field(default_factory=dict)
    settled_writes: int = 0
    rss_start_mb: float = 0.0
    """The most until it was settled."""
    rss_rest_mb: float = 0.0
    quiet_s: float = 0.0
    quiet_cpu_s: float = 0.0
    quiet_requests: dict[str, int] = field(default_factory=dict)
    quiet_writes: int = 0
    storm_events: int = 0
    storm_s: float = 0.0
    storm_cpu_s: float = 0.0
    tombstone_s: list[float] = field(default_factory=list)
    """Seconds from the request of each deletion in the storm to the stored tombstone; sorted."""

    def json(self) -> dict[str, object]:
        """Return the figures as a JSON value."""
        return asdict(self)


class Bench:
    """One cluster, its population, and the operator that is measured."""

    def __init__(
        self, admin: Admin, cluster: TestCluster, audit: AuditLog, soups: Sequence[SoupOf]
    ) -> None:
        self._admin, self._cluster, self._audit, self._soups = admin, cluster, audit, soups
        self._studios = sorted({soup.cluster.studio for soup in soups})
        self._numbers = itertools.count(1)

    def start(self) -> Operator:
        """Start an operator of all namespaces."""
        name = f"operator-{next(self._numbers)}"
        return self._cluster.operator(name, workloadNamespaces=self._studios)

    def settled(self, operator: Operator) -> tuple[float, float]:
        """Wait until nothing is left to do.

        Returns:
            When the last round was finished, by the monotonic clock, and the CPU-seconds by then.
        """
        last, until_s = -1.0, time.monotonic() + PATIENCE_S
        at_s, cpu_s = time.monotonic(), 0.0
        while time.monotonic() < until_s:
            now_s, now_cpu_s = time.monotonic(), operator.cpu_s()
            rounds, depth = _rounds(operator)
            if rounds != last or depth or rounds < len(self._soups):
                last, at_s, cpu_s = rounds, now_s, now_cpu_s
            elif now_s - at_s > SETTLED_S:
                return at_s, cpu_s
            assert operator.process.poll() is None, operator.log.read_text()[-3000:]
            time.sleep(0.5)
        raise AssertionError(f"not settled within {PATIENCE_S:.0f} s")

    def restart(self, figures: Figures, first: Operator) -> Operator:
        """Start another operator, and measure how it comes to rest."""
        first.end()
        mark, began_s = self._audit.mark(), time.monotonic()
        operator = self.start()
        at_s, figures.settled_cpu_s = self.settled(operator)
        figures.settled_s = at_s - began_s
        requests = self._requests(mark)
        figures.settled_requests = by_verb(requests)
        figures.settled_writes = self._writes(mark)
        figures.rss_start_mb = operator.most_rss_bytes() / 1e6
        return operator

    def rest(self, figures: Figures, operator: Operator, quiet_s: float) -> None:
        """Measure an operator that has nothing to do."""
        mark, cpu_s = self._audit.mark(), operator.cpu_s()
        time.sleep(quiet_s)
        figures.quiet_s, figures.quiet_cpu_s = quiet_s, operator.cpu_s() - cpu_s
        figures.rss_rest_mb = operator.rss_bytes() / 1e6
        figures.quiet_requests = by_verb(self._requests(mark))
        figures.quiet_writes = self._writes(mark)

    def storm(self, figures: Figures, operator: Operator, events: int, deletions: int) -> None:
        """Change shards as fast as the API server takes it, and delete some meanwhile."""
        shards = [
            (soup.cluster.studio, name)
            for row in itertools.zip_longest(*(soup.shards for soup in self._soups))
            for soup, name in zip(self._soups, row, strict=True)
            if name
        ]
        step = len(shards) // deletions
        leaving = set(shards[::step][:deletions])
        stays = [place for place in shards if place not in leaving]
        every = max(1, events // deletions)
        mark, cpu_s, began_s = self._audit.mark(), operator.cpu_s(), time.monotonic()
        goes = iter(sorted(leaving))

        def change(number: int) -> None:
            if number % every == 0 and (place := next(goes, None)):
                self._admin.delete(DATA_SHARDS, *place)
            namespace, name = stays[number % len(stays)]
            about = {"metadata": {"annotations": {"example.org/storm": str(number)}}}
            self._admin.merge(DATA_SHARDS, namespace, name, about)

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(change, range(events)))
        figures.storm_events, figures.storm_s = events, time.monotonic() - began_s
        until_s = time.monotonic() + PATIENCE_S
        while len(figures.tombstone_s) < len(leaving) and time.monotonic() < until_s:
            time.sleep(1.0)
            figures.tombstone_s = until_tombstone_s(self._requests(mark), leaving)
        figures.storm_cpu_s = operator.cpu_s() - cpu_s

    def _requests(self, mark: int) -> list:  # type: ignore[type-arg]
        return self._audit.requests(mark, self._cluster.release)

    def _writes(self, mark: int) -> int:
        return sum(
            1 for request in self._requests(mark) if request.is_operators and request.is_write
        )


def write(path: Path, results: list[Figures], where: dict[str, object]) -> None:
    """Write what was measured so far."""
    document = {"surroundings": where, "figures": [figures.json() for figures in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _rounds(operator: Operator) -> tuple[float, float]:
    """Return how many rounds were finished, and how many soups wait for one."""
    try:
        lines = operator.metrics().splitlines()
    except OSError:
        return -1.0, 1.0
    values = dict(line.rpartition(" ")[::2] for line in lines if line[:1] not in {"#", ""})
    rounds = float(values.get("stockpot_reconcile_duration_seconds_count", "-1"))
    return rounds, float(values.get("stockpot_queue_depth", "1"))
