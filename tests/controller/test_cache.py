"""What the operator knows of objects, however late or out of turn it is told."""

import pytest

from stockpot.cluster.apiserver.client import Listing
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import DATA_SHARDS, PODS
from stockpot.kube.cache import Cache


def a_shard(version: int, uid: str = "u1", name: str = "food") -> Json:
    about = {"namespace": "studio", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": about, "spec": {"soupRef": {"name": "emoji"}}}


def names(cache: Cache) -> list[tuple[str, str]]:
    known = cache.list(DATA_SHARDS, "studio")
    return [(thing["metadata"]["name"], thing["metadata"]["uid"]) for thing in known]


def test_an_object_that_was_made_while_a_listing_was_on_its_way_stays() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, a_shard(11))

    cache.replace(DATA_SHARDS, "studio", Listing((), "10"))

    assert names(cache) == [("food", "u1")]


def test_an_object_that_a_listing_does_not_name_is_gone_for_good() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, a_shard(9))

    cache.replace(DATA_SHARDS, "studio", Listing((), "10"))

    assert names(cache) == []
    assert not cache.put(DATA_SHARDS, a_shard(9)), "a late word does not bring it back"


def test_a_listing_leaves_alone_what_it_does_not_cover() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, a_shard(1, "u1", "food"))
    cache.put(DATA_SHARDS, a_shard(2, "u2", "ink"))

    covered = Listing((), "10")
    cache.replace(DATA_SHARDS, "studio", covered, lambda thing: thing["metadata"]["name"] == "ink")

    assert names(cache) == [("food", "u1")]


def test_an_old_listing_does_not_bring_back_the_one_before_of_the_name() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, a_shard(12, "u2"))

    cache.replace(DATA_SHARDS, "studio", Listing((a_shard(5, "u1"),), "10"))

    assert names(cache) == [("food", "u2")]


def test_the_last_phase_of_a_pod_is_what_its_stream_said() -> None:
    pod = a_shard(3)
    cache = Cache()
    cache.put(PODS, pod | {"status": {"phase": "Running"}})
    cache.remove(PODS, pod | {"status": {"phase": "Running"}})

    cache.remove(PODS, pod | {"status": {"phase": "Succeeded"}})

    assert cache.last_phase("u1") == "Succeeded"


def shard_of(soup: str, version: int, name: str) -> Json:
    about = {"namespace": "studio", "name": name, "uid": f"u-{name}"}
    metadata = {**about, "resourceVersion": str(version)}
    return {
        "apiVersion": DATA_SHARDS.api_version,
        "kind": DATA_SHARDS.kind,
        "metadata": metadata,
        "spec": {"soupRef": {"name": soup}, "source": {"s3": {"prefix": f"data/{name}"}}},
    }


def names_of(cache: Cache, soup: str) -> list[str]:
    return [shard.name for shard in cache.of_soup(DATA_SHARDS, "studio", soup)]


def test_objects_are_found_by_their_soup() -> None:
    cache = Cache()
    for number, (soup, name) in enumerate([("emoji", "b"), ("emoji", "a"), ("cats", "c")]):
        cache.put(DATA_SHARDS, shard_of(soup, number + 1, name))

    assert names_of(cache, "emoji") == ["a", "b"]
    assert names_of(cache, "cats") == ["c"]
    assert cache.soups(DATA_SHARDS, "studio") == {"emoji", "cats"}
    cache.remove(DATA_SHARDS, shard_of("cats", 9, "c"))
    assert cache.soups(DATA_SHARDS, "studio") == {"emoji"}


def test_the_listing_of_one_soup_replaces_that_soup_alone() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, shard_of("emoji", 1, "gone"))
    cache.put(DATA_SHARDS, shard_of("emoji", 12, "newer"))
    cache.put(DATA_SHARDS, shard_of("cats", 2, "other"))

    listing = Listing((shard_of("emoji", 9, "stays"),), "10")
    cache.replace(DATA_SHARDS, "studio", listing, soup="emoji")

    assert names_of(cache, "emoji") == ["newer", "stays"]
    assert names_of(cache, "cats") == ["other"]
    assert not cache.put(DATA_SHARDS, shard_of("emoji", 11, "gone")), "it is gone for good"


def test_a_shard_that_names_another_soup_than_its_predecessor_is_found_there_alone() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, shard_of("emoji", 1, "food"))
    moved = shard_of("cats", 2, "food")
    moved["metadata"]["uid"] = "u-later"

    cache.put(DATA_SHARDS, moved)

    assert names_of(cache, "emoji") == []
    assert names_of(cache, "cats") == ["food"]


def test_an_object_is_parsed_once_for_each_version() -> None:
    cache = Cache()
    cache.put(DATA_SHARDS, shard_of("emoji", 1, "food"))
    [first] = cache.of_soup(DATA_SHARDS, "studio", "emoji")

    assert cache.model(first) is cache.model(first)
    cache.put(DATA_SHARDS, shard_of("emoji", 2, "food"))
    [second] = cache.of_soup(DATA_SHARDS, "studio", "emoji")
    assert cache.model(second) is not cache.model(first)
    assert cache.model(second).metadata.resource_version == "2"


def test_only_so_many_objects_are_kept_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    for number in range(10):
        cache.put(DATA_SHARDS, shard_of("emoji", number + 1, f"shard-{number}"))
    shards = cache.of_soup(DATA_SHARDS, "studio", "emoji")
    largest = max(shard.size_bytes for shard in shards)
    monkeypatch.setattr("stockpot.kube.cache.MOST_PARSED", 3 * largest)

    for shard in shards:
        cache.model(shard)

    assert [shard.name for shard in shards if shard.model] == ["shard-7", "shard-8", "shard-9"]
    assert [cache.model(shard).metadata.name for shard in shards] == [s.name for s in shards]


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    shard = shard_of("emoji", 1, "food")
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "x"}
    shard["metadata"] |= {"managedFields": [{"manager": "kubectl"}], "annotations": applied}

    cache.put(DATA_SHARDS, shard)

    known = cache.get(DATA_SHARDS, "studio", "food")
    assert known
    assert "managedFields" not in known["metadata"]
    assert known["metadata"]["annotations"] == {"team": "x"}
