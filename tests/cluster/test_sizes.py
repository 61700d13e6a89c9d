"""What a soup of 2,000 shards puts into one object: etcd takes 1.5 MiB, annotations 256 KiB."""

import hashlib
import json
import uuid
from datetime import UTC, datetime

import pytest
from tests.cluster.shapes import BASE, SOUP, STORE, settings

from stockpot.api.runspec import MergeRun, RecipePart
from stockpot.api.source import S3Source
from stockpot.api.training import WeightsDtype
from stockpot.api.v1alpha1 import Base, ObjectMeta, Soup, SoupSpec
from stockpot.cluster.manifests.jobs import job_of
from stockpot.core.actions import RecordRevision
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.core.recipe import Ingredient, Recipe, ShardUID, WeightedIngredient
from stockpot.core.revision import Epoch, Promotion, Revision
from stockpot.core.runs import RunName
from stockpot.core.shard import Shard
from stockpot.core.soup import Soup as SoupSeen
from stockpot.core.soup import SoupUID
from stockpot.core.world import World
from stockpot.errors import Refused
from stockpot.reconcile.objects.revision import new_revision
from stockpot.reconcile.objects.soup import promoted

MANY = 2000
ETCD_BYTES = 1_500_000
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def uid(number: int) -> ShardUID:
    return ShardUID(str(uuid.UUID(int=number * 7919 + 1)))


def digest(what: str, number: int) -> Digest:
    return Digest("sha256:" + hashlib.sha256(f"{what} {number}".encode()).hexdigest())


def a_recipe(count: int) -> Recipe:
    parts = (
        WeightedIngredient(
            Ingredient(uid(number), digest("key", number)), digest("weights", number), 1000
        )
        for number in range(count)
    )
    return Recipe(tuple(sorted(parts)))


def the_soup() -> Soup:
    spec = SoupSpec(base=Base(s3=S3Source(prefix="bases/emoji/")))
    return Soup(metadata=ObjectMeta(name="emoji", namespace="studio", uid=SOUP.uid), spec=spec)


def size(thing: object) -> int:
    return len(json.dumps(thing).encode())


def test_a_revision_of_two_thousand_shards_fits_into_etcd_more_than_twice() -> None:
    recipe = a_recipe(MANY)
    revision = Revision(recipe, digest_of_bytes(b"merged"))
    shards = tuple(
        Shard(
            uid(number), f"a-shard-whose-name-has-all-of-fifty-letters-{number:06}", digest("r", 0)
        )
        for number in range(MANY)
    )
    world = World(SoupSeen(SoupUID(SOUP.uid), "emoji"), shards)

    told = new_revision(RecordRevision(revision, BASE_DIGEST, 1), the_soup(), world, NOW)

    assert 2 * size(told.model_dump(mode="json", by_alias=True)) < ETCD_BYTES


def test_a_soups_status_does_not_grow_with_its_members() -> None:
    def status_of(count: int) -> int:
        revision = Revision(a_recipe(count), digest_of_bytes(b"merged"))
        soup = promoted(Promotion(revision, Epoch(1), 1), Epoch(0), NOW)(the_soup())
        return size(soup.status.model_dump(mode="json", by_alias=True))

    assert status_of(MANY) < 50_000
    assert abs(status_of(5 * MANY) - status_of(MANY)) < 10


def test_a_merge_of_more_shards_than_an_annotation_holds_is_refused_with_what_to_do() -> None:
    job_of(RunName("merge-1"), a_recipe(800).lineage, a_merge(800), settings())

    with pytest.raises(Refused, match="too many shards") as refused:
        job_of(RunName("merge-1"), a_recipe(MANY).lineage, a_merge(MANY), settings())

    assert "several soups" in (refused.value.help or "")


def a_merge(count: int) -> MergeRun:
    return MergeRun(
        name="merge-1",
        store=STORE,
        soup=SOUP,
        recipe_digest=digest_of_bytes(b"recipe"),
        parts=tuple(
            RecipePart(
                shard_uid=part.ingredient.shard,
                training_key=part.ingredient.key,
                weights_digest=part.weights,
                weight=part.weight,
            )
            for part in a_recipe(count).parts
        ),
        output=WeightsDtype.FP16,
        base=BASE,
    )


BASE_DIGEST = digest_of_bytes(b"base")
