"""Soups that are deleted together with their shards, at random moments, on a real node.

Every receipt of the store has its object, and every object its receipt. Soups come and go side by
side, so that trainings, merges, purges and signings are under way when everything is deleted.
`SOUPS=…` says how many, `SEED=…` which moments.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.e2e.studio import NAMESPACE, WHY_NOT, Studio

from stockpot.api.runspec import StoreRef
from stockpot.cluster.apiserver.objects import name_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS, UNLEARNING_RECEIPTS
from stockpot.core.digests import digest_of_bytes
from stockpot.store.keys import Keys
from stockpot.store.open import open_store

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.node,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(7200),
]
SOUPS_IN_ALL = int(os.environ.get("SOUPS", "50"))
SEED = int(os.environ.get("SEED", "0"))
SIDE_BY_SIDE = 4
SHARDS = ("one", "two", "three")
LONGEST_LIFE_S = 75.0
LONGEST_END_S = 600.0

Recorded = set[tuple[str, str]]
"""Receipts: the soup's UID, and the digest of the envelope."""


@dataclass
class Life:
    """One soup, from its first apply on."""

    soup: str
    uid: str
    shards: tuple[str, ...]
    ends_at_s: float
    is_deleted: bool = field(default=False)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    node = Studio(f"soups-{os.getpid()}", tmp_path_factory.mktemp("soups") / "tiny")
    try:
        node.up()
        yield node
    finally:
        node.down()


def say(figure: str) -> None:
    """Show how far it is, beside the dots."""
    sys.stdout.write(f"\n{figure}\n")


def begin(studio: Studio, number: int, lives: random.Random) -> Life:
    """Apply a soup with one to three shards."""
    name = f"soup-{number:02}"
    shards = SHARDS[: lives.randint(1, len(SHARDS))]
    studio.apply(name, *shards)
    if lives.random() < 0.5:
        studio.client.merge_patch(SOUPS, NAMESPACE, name, {"spec": {"serving": {"replicas": 0}}})
    ends_at_s = time.monotonic() + lives.uniform(0.0, LONGEST_LIFE_S)
    return Life(name, studio.soup(name).metadata.uid, shards, ends_at_s)


def delete_all_of(studio: Studio, life: Life, lives: random.Random) -> None:
    """Delete a soup and its shards, in any order, without waiting."""
    named = [f"soup/{life.soup}", *(f"shard/{life.soup}-{shard}" for shard in life.shards)]
    # A Soup that still has shards is deleted only by somebody who says so.
    allowed = "stockpot.dev/allow-deletion=true"
    studio.kubectl("annotate", "-n", NAMESPACE, f"soup/{life.soup}", allowed)
    options = ("delete", "-n", NAMESPACE, "--wait=false", "--ignore-not-found")
    studio.kubectl(*options, *lives.sample(named, len(named)))
    life.is_deleted = True


def is_gone(studio: Studio, life: Life) -> bool:
    left = [
        name_of(shard)
        for shard in studio.client.list(DATA_SHARDS, NAMESPACE).items
        if shard["spec"]["soupRef"]["name"] == life.soup
    ]
    return not left and studio.client.find(SOUPS, NAMESPACE, life.soup) is None


def in_objects(studio: Studio) -> Recorded:
    return {
        (receipt["spec"]["soupRef"]["uid"], receipt["spec"]["digest"])
        for receipt in studio.client.list(UNLEARNING_RECEIPTS, NAMESPACE).items
    }


def in_store(studio: Studio, uids: list[str]) -> Recorded:
    with studio.store() as endpoint:
        store, keys = open_store(StoreRef(url="s3://stockpot", endpoint=endpoint)), Keys(NAMESPACE)
        return {
            (uid, digest_of_bytes(store.get(info.key) or b""))
            for uid in uids
            for info in store.list(keys.receipts(uid))
        }


def test_every_receipt_of_the_store_has_its_object_and_the_other_way_round(
    studio: Studio,
) -> None:
    lives = random.Random(SEED)
    living: list[Life] = []
    ended: list[Life] = []
    began = 0
    while began < SOUPS_IN_ALL or living:
        if began < SOUPS_IN_ALL and len(living) < SIDE_BY_SIDE:
            living.append(begin(studio, began, lives))
            began += 1
        for life in living:
            if not life.is_deleted and time.monotonic() >= life.ends_at_s:
                delete_all_of(studio, life, lives)
            late_s = time.monotonic() - life.ends_at_s
            assert late_s < LONGEST_END_S, f"{life.soup} does not go\n{studio.everything()}"
        gone = [life for life in living if life.is_deleted and is_gone(studio, life)]
        for life in gone:
            living.remove(life)
            ended.append(life)
            say(f"{len(ended)} of {SOUPS_IN_ALL} soups are gone, {life.soup} last")
        time.sleep(0.5)

    stored = in_store(studio, [life.uid for life in ended])
    say(f"{len(stored)} receipts in the store")
    assert in_objects(studio) == stored
    assert len(stored) >= SOUPS_IN_ALL // 2, "hardly anything was signed"
