"""How soon a deletion is written down, among many shards, on a real API server.

The bar: 100 deletions among 2,000 shards, p99 under a second. They come one after the other, as
fast as the API server answers. The same by eight clients at once is told beside it: there clients,
API server and operator share the cores.

How many and in how many soups can be said: SHARDS=2000 SOUPS=4 DELETIONS=100 make bench-forget.
Wants an idle machine.
"""

import os
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.controlplane.admin import Admin, Happening
from tests.controlplane.testbed import TestCluster
from tests.simulate.runs import lineage_of

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.objects import Json, name_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS
from stockpot.core.digests import digest_of_bytes

SHARDS = int(os.environ.get("SHARDS", "2000"))
SOUPS_ = int(os.environ.get("SOUPS", "4"))
DELETIONS = int(os.environ.get("DELETIONS", "100"))
PATIENCE_S = float(os.environ.get("PATIENCE", "900"))
BAR_S = 1.0


pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]


def a_soup(test_cluster: TestCluster, number: int) -> tuple[str, str]:
    """Without servers. Its name and UID."""
    name = f"soup-{number}"
    return name, str(test_cluster.soup(name, serving={"replicas": 0})["metadata"]["uid"])


def a_trained_shard(
    admin: Admin, test_cluster: TestCluster, name: str, soup: tuple[str, str]
) -> None:
    """One that was trained already: nothing but what is measured has to happen."""
    spec = {"soupRef": {"name": soup[0]}, "source": {"s3": {"prefix": f"data/{name}"}}}
    meta = {"name": name, "finalizers": [FINALIZER]}
    made = admin.create(DATA_SHARDS, test_cluster.studio, {"metadata": meta, "spec": spec})
    digest = digest_of_bytes(name.encode())
    status = {
        "baseDigest": digest_of_bytes(b"base"),
        "dataDigest": digest,
        "records": 100,
        "trainingKey": digest,
        "ingredient": {"digest": digest, "sizeBytes": 1},
        "comparison": {"trainingKey": digest, "records": 100},
        "training": {"runName": "train", "completedAt": "2026-11-22T12:00:00Z"},
    }
    admin.merge(DATA_SHARDS, test_cluster.studio, name, {"status": status}, "status")
    uid = made["metadata"]["uid"]
    store = test_cluster.kubelet.kitchen(soup[1]).store
    store.artefacts[f"shards/{uid}/{digest}"] = lineage_of(uid, digest)


def test_a_hundred_deletions_among_two_thousand_shards_are_written_down_at_once(
    test_cluster: TestCluster, admin: Admin
) -> None:
    soups = [a_soup(test_cluster, number) for number in range(SOUPS_)]
    names = [f"shard-{number:05d}" for number in range(SHARDS)]
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda pair: a_trained_shard(admin, test_cluster, pair[1], soups[pair[0] % SOUPS_]),
                enumerate(names),
            )
        )
    test_cluster.operator()

    def settled() -> bool:
        objects = [test_cluster.get(name, SOUPS) or {} for name, _ in soups]
        return all("currentRevision" in soup.get("status", {}) for soup in objects)

    test_cluster.until(settled, "every soup is promoted", PATIENCE_S)
    test_cluster.until(
        lambda: all(test_cluster.is_so(name, "Included") for name in names),
        "every shard is included",
        PATIENCE_S,
    )

    step = max(1, SHARDS // (2 * DELETIONS))
    one_by_one, at_once = names[::step][:DELETIONS], names[step // 2 :: step][:DELETIONS]
    took_s = deleted(test_cluster, one_by_one, clients=1)
    print_times("one after the other", took_s)
    print_times("by eight clients at once", deleted(test_cluster, at_once, clients=8))

    assert p99(took_s) < BAR_S


def deleted(test_cluster: TestCluster, chosen: list[str], *, clients: int) -> list[float]:
    """Delete them; how many seconds each took from the request until it was written down."""
    asked_s: dict[str, float] = {}
    noted_s: dict[str, float] = {}
    every = threading.Event()

    def hear(happening: Happening) -> None:
        name = name_of(happening.thing)
        if happening.resource != DATA_SHARDS or name not in asked_s or name in noted_s:
            return
        if happening.type == "DELETED" or is_noted(happening.thing):
            noted_s[name] = time.monotonic()
            if len(noted_s) == len(chosen):
                every.set()

    def delete(name: str) -> None:
        asked_s[name] = time.monotonic()
        test_cluster.delete(name)

    test_cluster.mirror.listeners.append(hear)
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(delete, chosen))
    assert every.wait(PATIENCE_S), f"{len(noted_s)} of {len(chosen)} were written down"
    test_cluster.mirror.listeners.remove(hear)
    return sorted(noted_s[name] - asked_s[name] for name in chosen)


def p99(took_s: list[float]) -> float:
    return took_s[min(len(took_s) - 1, round(0.99 * len(took_s)) - 1)]


def print_times(how: str, took_s: list[float]) -> None:
    sys.stdout.write(
        f"\n{len(took_s)} deletions {how}, among {SHARDS} shards in {SOUPS_} soups, to tombstone: "
        f"median {statistics.median(took_s):.3f} s, p99 {p99(took_s):.3f} s, "
        f"most {took_s[-1]:.3f} s\n"
    )


def is_noted(shard: Json) -> bool:
    return "unlearning" in shard.get("status", {})
