"""Soups that are deleted together with their shards: each receipt of the store has its object."""

import random
import signal
import time

from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.cluster.apiserver.objects import Json, condition_of, uid_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS, UNLEARNING_RECEIPTS
from stockpot.reconcile.objects.receipt import receipt_name

SOUPS_AT_ONCE, SHARDS = 6, 3
LONGEST_LIFE_S = 12.0


def objects_of(town: Town, soup_uid: str) -> set[tuple[int, str]]:
    """The receipts of a soup that have an object: place in the chain, and UID of the shard."""
    return {
        (receipt["spec"]["sequence"], receipt["spec"]["shard"]["uid"])
        for receipt in town.receipts()
        if receipt["spec"]["soupRef"]["uid"] == soup_uid
    }


def stored_of(town: Town, soup_uid: str) -> set[tuple[int, str]]:
    """The receipts of a soup that are in the store."""
    chain = town.kubelet.kitchen(soup_uid).store.receipts
    return {(place, shard) for place, (shard, _) in enumerate(chain, start=1)}


def test_every_receipt_has_its_object_whenever_soups_and_shards_are_deleted(town: Town) -> None:
    lives = random.Random(12)
    town.operator()
    names = [f"soup-{number}" for number in range(SOUPS_AT_ONCE)]
    uids, ends_at = {}, {}
    for name in names:
        uids[name] = uid_of(town.soup(name))
        for number in range(SHARDS):
            town.shard(f"{name}-{number}", name)
        ends_at[name] = time.monotonic() + lives.uniform(0.0, LONGEST_LIFE_S)

    for name in sorted(names, key=ends_at.__getitem__):
        town.until(lambda at=ends_at[name]: time.monotonic() >= at, f"{name} has lived")
        everything = [(SOUPS, name), *((DATA_SHARDS, f"{name}-{n}") for n in range(SHARDS))]
        for resource, thing in lives.sample(everything, len(everything)):
            town.delete(thing, resource)
    town.until(lambda: not town.all(DATA_SHARDS) and not town.all(SOUPS), "all are gone", 120)

    receipts = {name: stored_of(town, uid) for name, uid in uids.items()}
    assert {name: objects_of(town, uid) for name, uid in uids.items()} == receipts
    assert sum(map(len, receipts.values())) > SOUPS_AT_ONCE, "hardly anything was signed"


def test_a_receipt_whose_run_is_seen_to_end_last_is_recorded_like_the_others(town: Town) -> None:
    """Several receipts are due in one round; the first to be written is the last to be heard of."""
    operator = town.operator()
    soup_uid = uid_of(town.soup())
    names = ("bread", "crust", "dough")
    for name in names:
        town.shard(name)
    town.learnt(*names)
    town.kubelet.order(Order("purge", hold=True))
    town.kubelet.order(Order("sign", hold=True, late=True, times=1))
    for name in names:
        town.delete(name)
    town.delete("soup", SOUPS)
    town.until(lambda: sum(map(runs, town.jobs("purge"))) == len(names), "all purges run")

    # While it hears nothing all purges end, so that one round finds all receipts due.
    operator.process.send_signal(signal.SIGSTOP)
    town.kubelet.let_go("purge")
    town.until(lambda: all(map(is_complete, town.jobs("purge"))), "all purges have ended")
    operator.process.send_signal(signal.SIGCONT)
    town.until(lambda: stored_of(town, soup_uid), "a receipt is written")
    town.until(lambda: all(map(has_begun, town.jobs("sign"))), "all that sign have begun")
    town.kubelet.let_go("sign")
    town.until(lambda: not town.all(DATA_SHARDS) and not town.all(SOUPS), "all are gone")

    assert len(stored_of(town, soup_uid)) == len(names)
    assert objects_of(town, soup_uid) == stored_of(town, soup_uid)


def is_complete(job: Json) -> bool:
    return condition_of(job, "Complete") is not None


def runs(job: Json) -> bool:
    return bool(job.get("status", {}).get("ready"))


def has_begun(job: Json) -> bool:
    return runs(job) or is_complete(job)


def test_a_receipt_whose_name_another_has_is_recorded_under_a_longer_one(town: Town) -> None:
    soup = town.soup()
    name = receipt_name("soup", uid_of(soup), 1)
    other = {
        "soupRef": {"name": "soup", "uid": "of another soup"},
        "shard": {"name": "food", "uid": "another"},
        "sequence": 1,
        "digest": "sha256:" + "1" * 64,
        "requestedAt": "2026-11-22T12:00:00Z",
        "storeKey": "elsewhere",
    }
    town.admin.create(UNLEARNING_RECEIPTS, town.studio, {"metadata": {"name": name}, "spec": other})
    town.operator()
    food = town.shard("food")
    town.learnt("food")

    town.delete("food")
    town.forgotten("food")

    [mine] = [receipt for receipt in town.receipts() if receipt["spec"]["shard"]["uid"] == food]
    assert mine["metadata"]["name"] == f"{name}-{mine['spec']['digest'][7:15]}"
    [kept] = [receipt for receipt in town.receipts() if receipt["metadata"]["name"] == name]
    assert kept["spec"] | {"residuals": 0, "missing": []} == kept["spec"] | other | {
        "residuals": 0,
        "missing": [],
    }
