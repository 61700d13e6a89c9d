"""Which soups are looked at after a word of a watch stream."""

from typing import Any

from stockpot.cluster.apiserver.client import Listing
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import DATA_SHARDS, JOBS, Resource
from stockpot.controller.queue import Priority
from stockpot.controller.watcher import Watcher
from stockpot.kube.cache import Cache
from stockpot.reconcile.ports import SoupKey

SOUP = SoupKey("studio", "emoji")


class Stream:
    """A stream whose words a test says, and what it asked for."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.pushed: list[tuple[SoupKey, Priority]] = []
        self.left: list[Json] = []
        self._watcher = Watcher(
            self.cache,
            lambda key, why: self.pushed.append((key, why)),
            self.left.append,
            "studio",
        )

    def say(self, resource: Resource, thing: Json, type_: str = "MODIFIED") -> int:
        """Say it; how many rounds that asks for."""
        before = len(self.pushed)
        self._watcher.handle(resource, type_, thing)
        return len(self.pushed) - before


def a_shard(version: int, generation: int = 1, **about: Any) -> Json:
    fixed = {"namespace": "studio", "name": "food", "uid": "u1"}
    metadata = {"resourceVersion": str(version), "generation": generation, **about}
    return {"metadata": fixed | metadata, "spec": {"soupRef": {"name": "emoji"}}}


def a_job(version: int) -> Json:
    labels = {"stockpot.dev/soup": "emoji", "stockpot.dev/soup-namespace": "studio"}
    about = {"namespace": "studio", "name": "train", "uid": "u2", "labels": labels}
    return {"metadata": {**about, "resourceVersion": str(version)}}


def test_a_shard_that_another_soups_listing_brought_first_is_news_all_the_same() -> None:
    stream = Stream()
    stream.cache.replace(DATA_SHARDS, "studio", Listing((a_shard(7),), "8"))

    assert stream.say(DATA_SHARDS, a_shard(7), "ADDED") == 1
    assert stream.pushed == [(SOUP, Priority.SPEC)]


def test_a_change_that_the_answer_to_our_own_write_brought_first_is_news_all_the_same() -> None:
    stream = Stream()
    stream.say(DATA_SHARDS, a_shard(7), "ADDED")
    stream.cache.put(DATA_SHARDS, a_shard(9, generation=2))

    assert stream.say(DATA_SHARDS, a_shard(8, generation=2)) == 1
    known = stream.cache.get(DATA_SHARDS, "studio", "food")
    assert known
    assert known["metadata"]["resourceVersion"] == "9"


def test_a_status_of_ours_is_no_news_and_a_run_s_is() -> None:
    stream = Stream()
    stream.say(DATA_SHARDS, a_shard(7), "ADDED")
    stream.say(JOBS, a_job(8), "ADDED")

    assert stream.say(DATA_SHARDS, a_shard(9)) == 0
    assert stream.say(JOBS, a_job(10)) == 1


def test_a_repetition_is_no_news() -> None:
    stream = Stream()
    stream.say(DATA_SHARDS, a_shard(7), "ADDED")
    stream.say(JOBS, a_job(8), "ADDED")

    assert stream.say(DATA_SHARDS, a_shard(7), "ADDED") == 0
    assert stream.say(JOBS, a_job(8), "ADDED") == 0


def test_a_deletion_goes_before_all_else() -> None:
    stream = Stream()
    stream.say(DATA_SHARDS, a_shard(7), "ADDED")

    stream.say(DATA_SHARDS, a_shard(8, deletionTimestamp="2026-11-22T12:00:00Z"))
    stream.say(DATA_SHARDS, a_shard(9, deletionTimestamp="2026-11-22T12:00:00Z"), "DELETED")

    assert stream.pushed[-2] == (SOUP, Priority.DELETE)
    assert stream.cache.get(DATA_SHARDS, "studio", "food") is None


def test_an_annotation_is_news() -> None:
    stream = Stream()
    stream.say(DATA_SHARDS, a_shard(7), "ADDED")

    assert stream.say(DATA_SHARDS, a_shard(8, annotations={"stockpot.dev/force-delete": "x"})) == 1


def test_a_shard_that_leaves_is_told_of_once() -> None:
    stream = Stream()
    leaves = {"deletionTimestamp": "2026-11-22T12:00:00Z"}

    stream.say(DATA_SHARDS, a_shard(7), "ADDED")
    assert not stream.left
    stream.say(DATA_SHARDS, a_shard(8, **leaves))
    stream.say(DATA_SHARDS, a_shard(9, **leaves))

    assert [shard["metadata"]["resourceVersion"] for shard in stream.left] == ["8"]
