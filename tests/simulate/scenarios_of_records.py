"""Directed scenarios about records that are misspelt, shared by shards, or come back."""

from datetime import timedelta

from tests.simulate.cluster import SimulatedCluster
from tests.simulate.driving import cluster_of, go_on, uid_of
from tests.simulate.histories import require, require_rest

from stockpot.api.v1alpha1 import RevisionPart


def a_record_is_misspelt() -> None:
    """Names of no record cost the shard nothing; once they are right, it leaves and returns."""
    cluster = cluster_of("cats", "dogs")
    dogs, both = uid_of(cluster, "dogs"), cluster.served()
    cluster.exclude(dogs, "nobody", "first")
    for _ in range(40):
        cluster.round()
        require(cluster)
        assert cluster.served() == both, "a request that is not confirmed changed the soup"
        if ready := cluster.runs.active():
            cluster.runs.finish(ready[0], cluster.now)
        cluster.pods.move()
    assert cluster.shards[dogs].status.found_records is not None
    cluster.exclude(dogs, "first")
    cluster.settle()
    require_rest(cluster)
    assert cluster.shards[dogs].status.left_out == ("first",)
    assert cluster.served() != both


def two_shards_share_a_record() -> None:
    """Both say so. The one that stays keeps it, because it taught the record before."""
    cluster = cluster_of("ants", "bees", "cats")
    require_rest(cluster)
    cluster.delete(uid_of(cluster, "ants"))
    cluster.settle()
    require_rest(cluster)
    assert cluster.served() == cluster_of("bees", "cats").served()
    cluster.exclude(uid_of(cluster, "bees"), "second")
    cluster.settle()
    require_rest(cluster)
    assert uid_of(cluster, "bees") in {part.shard.uid for part in promoted_parts(cluster)}


def an_unlearned_record_comes_back_in_another_shard() -> None:
    """It comes with data of another name, before, while or after the shard is unlearned."""
    for rounds in (0, 1, 3, 6, 10, 20, 60):
        cluster = cluster_of("ants", "cats")
        cluster.now += timedelta(minutes=1)
        cluster.delete(uid_of(cluster, "ants"))
        cluster.round()
        go_on(cluster, dropping=False, rounds=rounds)
        bees = cluster.add("bees")
        go_on(cluster, dropping=False)
        cluster.settle()
        require_rest(cluster)
        assert cluster.served() == cluster_of("cats").served(), rounds
        reasons = {each.type: each.reason for each in cluster.shards[bees].status.conditions}
        assert reasons["Stalled"] == "Forgotten", rounds
        cluster.relearn_everything(bees)
        cluster.settle()
        require_rest(cluster)
        assert cluster.served() == cluster_of("bees", "cats").served(), rounds


def promoted_parts(cluster: SimulatedCluster) -> tuple[RevisionPart, ...]:
    current = cluster.soup.status.current_revision
    assert current
    return cluster.revisions[current.name].spec.parts


SCENARIOS = (
    two_shards_share_a_record,
    an_unlearned_record_comes_back_in_another_shard,
    a_record_is_misspelt,
)
