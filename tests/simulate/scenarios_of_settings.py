"""Settings that are wrong and then right, and conditions that are true at every step."""

from tests.simulate.cluster import SimulatedCluster
from tests.simulate.driving import cluster_of, go_on, uid_of
from tests.simulate.histories import require_rest

from stockpot.api.conditions import ConditionType, find
from stockpot.api.results import PurgeResult


def is_ready(cluster: SimulatedCluster) -> bool:
    ready = find(cluster.soup.status.conditions, ConditionType.READY)
    return ready is not None and ready.status == "True"


def a_setting_is_corrected_while_jobs_wait_for_it() -> None:
    """A training, a merge and a receipt wait for an image; the admin corrects its name."""
    cluster = cluster_of("cats", "dogs")
    cluster.runs.change_settings(is_short=True)
    cluster.add("bees")
    cluster.delete(uid_of(cluster, "dogs"))
    go_on(cluster)
    assert not is_ready(cluster)
    assert len(cluster.shards) == 3, "something was done without an image"

    cluster.runs.change_settings(is_short=False)
    go_on(cluster)

    names = {shard.metadata.name for shard in cluster.shards.values()}
    assert names == {"bees", "cats"}, "a Job was kept that was made from the settings before"
    assert is_ready(cluster)
    cluster.settle()
    require_rest(cluster)


def a_setting_is_corrected_while_a_receipt_waits_for_it() -> None:
    cluster = cluster_of("cats", "dogs")
    cluster.delete(uid_of(cluster, "dogs"))
    for _ in range(40):
        go_on(cluster, rounds=1)
        if any(isinstance(work.outcome, PurgeResult) for work in cluster.runs.known.values()):
            break
    cluster.runs.change_settings(is_short=True)
    go_on(cluster)
    assert len(cluster.shards) == 2, "a receipt was signed without an image"

    cluster.runs.change_settings(is_short=False)
    go_on(cluster)

    assert len(cluster.shards) == 1, "a sign run was kept that was made from the settings before"


def a_shard_joins() -> None:
    """The Soup says that it is Ready no sooner than servers answer with the newcomer."""
    cluster = cluster_of("cats")
    cluster.add("dogs")
    # Each round asserts that Ready is what the servers answer.
    go_on(cluster)

    assert is_ready(cluster)


def a_soup_is_deleted_before_its_shards_are() -> None:
    """What gets through serves until its last shard is deleted."""
    cluster = cluster_of("cats", "dogs")
    served = cluster.served()
    cluster.delete_soup()
    go_on(cluster)
    assert cluster.served() == served, "a Soup with shards stopped serving"

    cluster.delete(uid_of(cluster, "dogs"))
    go_on(cluster)
    assert cluster.served(), "the last shard is served no more"
    assert cluster.served() != served, "a deleted shard is served"

    cluster.delete(uid_of(cluster, "cats"))
    cluster.settle()
    assert cluster.is_soup_gone
    require_rest(cluster)


SCENARIOS = (
    a_setting_is_corrected_while_jobs_wait_for_it,
    a_setting_is_corrected_while_a_receipt_waits_for_it,
    a_shard_joins,
    a_soup_is_deleted_before_its_shards_are,
)
