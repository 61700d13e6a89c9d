"""What the operator knows of objects, however late or out of turn it is told."""

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
