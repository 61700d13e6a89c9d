"""Settled clusters to begin a scenario with, and letting one go on a step at a time."""

from tests.simulate.cluster import SimulatedCluster
from tests.simulate.histories import require


def cluster_of(*names: str) -> SimulatedCluster:
    """Return a settled cluster that serves these shards."""
    cluster = SimulatedCluster()
    for name in names:
        cluster.add(name)
    cluster.settle()
    return cluster


def uid_of(cluster: SimulatedCluster, name: str) -> str:
    [uid] = [uid for uid, shard in cluster.shards.items() if shard.metadata.name == name]
    return uid


def go_on(cluster: SimulatedCluster, *, dropping: bool = True, rounds: int = 40) -> None:
    """Let runs end one at a time; assert the invariants at every step."""
    for _ in range(rounds):
        cluster.round()
        require(cluster)
        if ready := cluster.runs.active():
            cluster.runs.finish(ready[0], cluster.now)
        require(cluster)
        cluster.confirm_ends()
        cluster.pods.move(dropping=dropping)
        require(cluster)
