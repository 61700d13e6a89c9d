"""Fills an API server with soups, trained shards, receipts and revisions."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction

from tests.controlplane.admin import Admin
from tests.controlplane.testbed import TestCluster
from tests.simulate.runs import lineage_of

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
)
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.core.recipe import Ingredient, Recipe, ShardUID, recipe_of
from stockpot.reconcile.objects.revision import revision_name

CLIENTS = 8
BASE = digest_of_bytes(b"base")
TRAINED_AT, SIGNED_AT, RESCANNED_AT = (f"2026-11-22T1{hour}:00:00Z" for hour in (2, 3, 4))
QUIET = 20
"""A soup with this number of quiet rescans is rescanned daily."""


@dataclass
class SoupOf:
    """One soup of the population, with its shards' UIDs by name."""

    cluster: TestCluster
    """The part of the cluster with its namespace."""
    name: str
    uid: str
    shards: dict[str, str] = field(default_factory=dict)

    def recipe(self, left_out: str = "") -> Recipe:
        """Return the uniform recipe of its shards, but for one."""
        return recipe_of(
            (
                (Ingredient(ShardUID(uid), digest_of(name)), digest_of(name), Fraction(1))
                for name, uid in self.shards.items()
                if name != left_out
            ),
            "fp16",
        )


def digest_of(name: str) -> Digest:
    """Return what stands for every digest of a shard: of its key, weights and data."""
    return digest_of_bytes(name.encode())


def add_soup(cluster: TestCluster, name: str) -> SoupOf:
    """Make a soup without servers."""
    return SoupOf(
        cluster, name, str(cluster.soup(name, serving={"replicas": 0})["metadata"]["uid"])
    )


def add_trained_shard(admin: Admin, soup: SoupOf, name: str) -> None:
    """Make a shard that was trained already: nothing but what is measured has to happen."""
    namespace = soup.cluster.studio
    spec = {"soupRef": {"name": soup.name}, "source": {"s3": {"prefix": f"data/{name}"}}}
    meta = {"name": name, "finalizers": [FINALIZER]}
    made = admin.create(DATA_SHARDS, namespace, {"metadata": meta, "spec": spec})
    digest = digest_of(name)
    status = {
        "baseDigest": BASE,
        "dataDigest": digest,
        "records": 100,
        "trainingKey": digest,
        "ingredient": {"digest": digest, "sizeBytes": 1},
        "comparison": {"trainingKey": digest, "records": 100},
        "training": {"runName": "train", "completedAt": TRAINED_AT},
    }
    admin.merge(DATA_SHARDS, namespace, name, {"status": status}, "status")
    uid = str(made["metadata"]["uid"])
    store, place = soup.cluster.kubelet.kitchen(soup.uid).store, f"shards/{uid}/{digest}"
    store.artefacts[place], store.records[place] = lineage_of(uid, digest), {}
    soup.shards[name] = uid


def grow(admin: Admin, soups: Sequence[SoupOf], total: int) -> None:
    """Add shards, evenly, until there are so many."""
    there = sum(len(soup.shards) for soup in soups)

    def add(number: int) -> None:
        add_trained_shard(admin, soups[number % len(soups)], f"shard-{number:05d}")

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(add, range(there, total)))


def add_receipts(admin: Admin, soup: SoupOf, count: int) -> None:
    """Record that so many shards were unlearned from a soup, long ago."""
    for sequence in range(1, count + 1):
        digest = digest_of(f"{soup.uid} receipt {sequence}")
        spec: Json = {
            "soupRef": {"name": soup.name, "uid": soup.uid},
            "shard": {"name": f"gone-{sequence:05d}", "uid": digest[-36:]},
            "sequence": sequence,
            "digest": digest,
            "requestedAt": TRAINED_AT,
            "signedAt": SIGNED_AT,
            "storeKey": f"{soup.cluster.studio}/receipts/{soup.uid}/{sequence:08d}.dsse.json",
            "sourceDigest": digest_of(f"{soup.uid} source {sequence}"),
            "dataDigest": digest_of(f"{soup.uid} data {sequence}"),
        }
        name = f"{soup.name}-{soup.uid[:8]}-{sequence:04d}"
        body = {"metadata": {"name": name}, "spec": spec}
        admin.create(UNLEARNING_RECEIPTS, soup.cluster.studio, body)
    status = {
        "receipts": {"count": count, "head": digest_of(f"{soup.uid} receipt {count}")},
        "collection": {"number": QUIET, "at": RESCANNED_AT, "quiet": QUIET},
    }
    admin.merge(SOUPS, soup.cluster.studio, soup.name, {"status": status}, "status")


def add_revisions(admin: Admin, soup: SoupOf, count: int) -> None:
    """Record so many revisions, each of all shards but one."""
    for left_out in list(soup.shards)[:count]:
        recipe = soup.recipe(left_out)
        names = {uid: name for name, uid in soup.shards.items()}
        parts = [
            {
                "shard": {"name": names[part.ingredient.shard], "uid": part.ingredient.shard},
                "trainingKey": part.ingredient.key,
                "weightsDigest": part.weights,
                "weight": part.weight,
            }
            for part in recipe.parts
        ]
        spec = {
            "soupRef": {"name": soup.name, "uid": soup.uid},
            "recipeDigest": recipe.digest,
            "parts": parts,
            "weightsDigest": recipe.digest,
        }
        meta = {"name": revision_name(soup.name, recipe.digest)}
        admin.create(SOUP_REVISIONS, soup.cluster.studio, {"metadata": meta, "spec": spec})


def add_history(admin: Admin, soups: Sequence[SoupOf], receipts: int, revisions: int) -> None:
    """Add receipts and revisions, evenly."""

    def add(soup: SoupOf) -> None:
        add_receipts(admin, soup, receipts // len(soups))
        add_revisions(admin, soup, revisions // len(soups))

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(add, soups))


def is_promoted(admin: Admin, soups: Sequence[SoupOf]) -> bool:
    """Whether every soup is promoted with all of its shards."""
    members = {
        thing["metadata"]["uid"]: thing.get("status", {})
        .get("currentRevision", {})
        .get("members", 0)
        for studio in {soup.cluster.studio for soup in soups}
        for thing in admin.list(SOUPS, studio)
    }
    return all(members[soup.uid] == len(soup.shards) for soup in soups)
