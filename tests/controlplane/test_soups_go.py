"""Soups that are deleted together with their shards: each receipt of the store has its object."""

import random
import signal
import time

from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.objects import Json, condition_of, uid_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS, UNLEARNING_RECEIPTS
from stockpot.reconcile.objects.receipt import receipt_name

SOUPS_AT_ONCE, SHARDS = 6, 3
LONGEST_LIFE_S = 12.0


def objects_of(test_cluster: TestCluster, soup_uid: str) -> set[tuple[int, str]]:
    """The receipts of a soup that have an object: place in the chain, and UID of the shard."""
    return {
        (receipt["spec"]["sequence"], receipt["spec"]["shard"]["uid"])
        for receipt in test_cluster.receipts()
        if receipt["spec"]["soupRef"]["uid"] == soup_uid
    }


def stored_of(test_cluster: TestCluster, soup_uid: str) -> set[tuple[int, str]]:
    """The receipts of a soup that are in the store."""
    chain = test_cluster.kubelet.kitchen(soup_uid).store.receipts
    return {(place, shard) for place, (shard, _) in enumerate(chain, start=1)}


def test_every_receipt_has_its_object_whenever_soups_and_shards_are_deleted(
    test_cluster: TestCluster,
) -> None:
    lives = random.Random(12)
    test_cluster.operator()
    names = [f"soup-{number}" for number in range(SOUPS_AT_ONCE)]
    uids, ends_at = {}, {}
    for name in names:
        uids[name] = uid_of(test_cluster.soup(name))
        for number in range(SHARDS):
            test_cluster.shard(f"{name}-{number}", name)
        ends_at[name] = time.monotonic() + lives.uniform(0.0, LONGEST_LIFE_S)

    for name in sorted(names, key=ends_at.__getitem__):
        test_cluster.until(lambda at=ends_at[name]: time.monotonic() >= at, f"{name} has lived")
        everything = [(SOUPS, name), *((DATA_SHARDS, f"{name}-{n}") for n in range(SHARDS))]
        for resource, thing in lives.sample(everything, len(everything)):
            test_cluster.delete(thing, resource)
    test_cluster.until(
        lambda: not test_cluster.all(DATA_SHARDS) and not test_cluster.all(SOUPS),
        "all are gone",
        120,
    )

    receipts = {name: stored_of(test_cluster, uid) for name, uid in uids.items()}
    assert {name: objects_of(test_cluster, uid) for name, uid in uids.items()} == receipts
    assert sum(map(len, receipts.values())) > SOUPS_AT_ONCE, "hardly anything was signed"


def test_a_receipt_whose_run_is_seen_to_end_last_is_recorded_like_the_others(
    test_cluster: TestCluster,
) -> None:
    """Several receipts are due in one round; the first to be written is the last to be heard of."""
    operator = test_cluster.operator()
    soup_uid = uid_of(test_cluster.soup())
    names = ("bread", "crust", "dough")
    for name in names:
        test_cluster.shard(name)
    test_cluster.learnt(*names)
    test_cluster.kubelet.order(Order("purge", hold=True))
    test_cluster.kubelet.order(Order("sign", hold=True, late=True, times=1))
    for name in names:
        test_cluster.delete(name)
    test_cluster.delete("soup", SOUPS)
    test_cluster.until(
        lambda: sum(map(runs, test_cluster.jobs("purge"))) == len(names), "all purges run"
    )

    # While it hears nothing all purges end, so that one round finds all receipts due.
    operator.process.send_signal(signal.SIGSTOP)
    test_cluster.kubelet.let_go("purge")
    test_cluster.until(
        lambda: all(map(is_complete, test_cluster.jobs("purge"))), "all purges have ended"
    )
    operator.process.send_signal(signal.SIGCONT)
    test_cluster.until(lambda: stored_of(test_cluster, soup_uid), "a receipt is written")
    test_cluster.until(
        lambda: all(map(has_begun, test_cluster.jobs("sign"))), "all that sign have begun"
    )
    test_cluster.kubelet.let_go("sign")
    test_cluster.until(
        lambda: not test_cluster.all(DATA_SHARDS) and not test_cluster.all(SOUPS), "all are gone"
    )

    assert len(stored_of(test_cluster, soup_uid)) == len(names)
    assert objects_of(test_cluster, soup_uid) == stored_of(test_cluster, soup_uid)


def is_complete(job: Json) -> bool:
    return condition_of(job, "Complete") is not None


def runs(job: Json) -> bool:
    return bool(job.get("status", {}).get("ready"))


def has_begun(job: Json) -> bool:
    return runs(job) or is_complete(job)


def test_a_receipt_whose_name_another_has_is_recorded_under_a_longer_one(
    test_cluster: TestCluster,
) -> None:
    soup = test_cluster.soup()
    name = receipt_name("soup", uid_of(soup), 1)
    other = {
        "soupRef": {"name": "soup", "uid": "of another soup"},
        "shard": {"name": "food", "uid": "another"},
        "sequence": 1,
        "digest": "sha256:" + "1" * 64,
        "requestedAt": "2026-11-22T12:00:00Z",
        "storeKey": "elsewhere",
    }
    test_cluster.admin.create(
        UNLEARNING_RECEIPTS, test_cluster.studio, {"metadata": {"name": name}, "spec": other}
    )
    test_cluster.operator()
    food = test_cluster.shard("food")
    test_cluster.learnt("food")

    test_cluster.delete("food")
    test_cluster.forgotten("food")

    [mine] = [
        receipt for receipt in test_cluster.receipts() if receipt["spec"]["shard"]["uid"] == food
    ]
    assert mine["metadata"]["name"] == f"{name}-{mine['spec']['digest'][7:15]}"
    [kept] = [receipt for receipt in test_cluster.receipts() if receipt["metadata"]["name"] == name]
    assert kept["spec"] | {"residuals": 0, "missing": []} == kept["spec"] | other | {
        "residuals": 0,
        "missing": [],
    }
