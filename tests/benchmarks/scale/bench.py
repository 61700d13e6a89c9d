"""Run the benchmark: `python -m tests.benchmarks.scale.bench --results FILE`.

One API server for each number of namespaces. Its population grows from size to size; of each size
an operator is started anew and measured. With the largest come receipts, revisions and a storm.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.scale.audit import AuditLog
from tests.benchmarks.scale.measurement import Bench, Figures, write
from tests.benchmarks.scale.population import add_history, add_soup, grow, is_promoted
from tests.controlplane.admin import Admin, Mirror
from tests.controlplane.conftest import an_api_server
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.resources import JOBS, LEASES, PODS

SOUPS = 100
SHORT_QUIET_S = 60.0
WATCHED = (PODS, JOBS, LEASES)
"""What the node of the tests needs to hear."""


def main() -> None:
    """Measure, and write the results as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--namespaces", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--soups", type=int, default=SOUPS)
    parser.add_argument("--receipts", type=int, default=10_000)
    parser.add_argument("--revisions", type=int, default=1000)
    parser.add_argument("--quiet-s", type=float, default=600.0)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--deletions", type=int, default=100)
    chosen = parser.parse_args()
    results: list[Figures] = []
    for namespaces in chosen.namespaces:
        sizes = chosen.sizes if namespaces == 1 else [max(chosen.sizes)]
        with tempfile.TemporaryDirectory(prefix="stockpot-scale-") as folder:
            measure(chosen, namespaces, sizes, Path(folder), results)


def measure(
    chosen: argparse.Namespace,
    namespaces: int,
    sizes: list[int],
    folder: Path,
    results: list[Figures],
) -> None:
    """Measure every size on one API server."""
    audit = AuditLog(folder / "audit")
    (folder / "testbed").mkdir()
    with an_api_server(folder / "crds", audit=(audit.policy, audit.path)) as plane:
        admin = Admin(plane)
        mirror = Mirror(admin, WATCHED)
        cluster = TestCluster(admin, mirror, folder / "testbed")
        cluster.build()
        parts = [cluster, *(cluster.add_namespace() for _ in range(namespaces - 1))]
        soups = [
            add_soup(parts[number % len(parts)], f"soup-{number:03d}")
            for number in range(chosen.soups)
        ]
        bench = Bench(admin, cluster, audit, soups)
        operator = bench.start()
        try:
            for size in sizes:
                figures = Figures(size, len(soups), namespaces)
                tell(f"{size} shards in {namespaces} namespaces")
                operator.end()
                grow(admin, soups, size)
                if size == max(chosen.sizes) and chosen.receipts:
                    figures.receipts, figures.revisions = chosen.receipts, chosen.revisions
                    add_history(admin, soups, chosen.receipts, chosen.revisions)
                tell("made; the operator takes them in")
                operator = bench.start()
                while not is_promoted(admin, soups):
                    # An operator that loses its Lease on a busy machine ends, as it should.
                    if operator.process.poll() is not None:
                        operator.start()
                    time.sleep(2)
                bench.settled(operator)
                operator = bench.restart(figures, operator)
                tell(f"restarted: {figures.json()}")
                # The bar is about the most shards in one namespace; the others show the trend.
                is_longest = size == max(chosen.sizes) and namespaces == min(chosen.namespaces)
                bench.rest(figures, operator, chosen.quiet_s if is_longest else SHORT_QUIET_S)
                if size == max(chosen.sizes) and chosen.events:
                    bench.storm(figures, operator, chosen.events, chosen.deletions)
                tell(f"measured: {figures.json()}")
                results.append(figures)
                write(chosen.results, results, surroundings())
        finally:
            mirror.stop()
            for started in cluster.operators:
                started.kill()
            cluster.kubelet.stop()


def surroundings() -> dict[str, object]:
    """Say where it was measured."""
    names = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in names if "model name" in line), "")
    return {
        "date": datetime.now(UTC).date().isoformat(),  # noqa: TID251
        "processor": processor,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[2], 1),
    }


def tell(what: str) -> None:
    """Say how far it is."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {what}\n")  # noqa: TID251
    sys.stdout.flush()


if __name__ == "__main__":
    main()
