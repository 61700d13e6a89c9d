"""What the status of a Soup claims, judged by what its servers answer at that moment."""

from typing import TYPE_CHECKING

from tests.simulate.runs import lineage_of

from stockpot.api.conditions import ConditionStatus, ConditionType, find
from stockpot.api.states import ShardState
from stockpot.api.v1alpha1 import FORCE_DELETE
from stockpot.serving import grants

if TYPE_CHECKING:
    from tests.simulate.cluster import SimulatedCluster


def answers_of(cluster: "SimulatedCluster") -> set[str | None]:
    """Return the recipes that servers answer with; None for one that has nothing yet."""
    pods = (cluster.pods[uid] for uid in cluster.pods.observed())
    serving = (grants.report(pod.holdings).serving for pod in pods if not pod.is_silent)
    return {granted.revision.recipe_digest if granted else None for granted in serving}


def require_true_conditions(cluster: "SimulatedCluster", answers: set[str | None]) -> None:
    """Assert that a Soup which says that it is Ready is what its servers answered.

    Args:
        cluster: A cluster after a round on a fresh cache.
        answers: What its servers answered right before the round.
    """
    status = cluster.soup.status
    ready = find(status.conditions, ConditionType.READY)
    if cluster.is_soup_gone or ready is None or ready.status is not ConditionStatus.TRUE:
        return
    current = status.current_revision
    assert current, "Ready, and nothing is promoted"
    assert answers <= {current.recipe_digest, None}, "Ready while servers answer otherwise"
    is_served = current.recipe_digest in answers
    assert is_served or not cluster.pods.replicas, "Ready, and nothing serves"
    is_held = find(status.conditions, ConditionType.MEMBERS_HELD) is not None
    weightless = {u for u, s in cluster.shards.items() if s.status.state == ShardState.WEIGHTLESS}
    # A shard that has its receipt is unlearned, though a backup brought its object back.
    absent = weightless | cluster.store.completed() | {pair.shard for pair in current.lineage}
    missing = set(cluster.living()) - absent
    assert not missing or is_held, f"Ready without {missing}"


def promoted_and_served(cluster: "SimulatedCluster") -> set[str]:
    """Return the recipes that are served or promoted, but those of late targets."""
    current = cluster.soup.status.current_revision
    if cluster.soup.metadata.deletion_timestamp and not _goes_on(cluster):
        current = None  # It is no longer granted.
    serving = (
        pod.holdings.serving.granted.revision
        for pod in cluster.pods.served()
        if pod.holdings.serving and pod.has_object
    )
    return {
        *({current.recipe_digest} if current else ()),
        *(
            revision.recipe_digest
            for revision in serving
            if not any(
                cluster.is_late(gone)
                for pair in revision.lineage
                for gone in lineage_of(pair.shard, pair.training_key)
            )
        ),
    }


def _goes_on(cluster: "SimulatedCluster") -> bool:
    """Whether a Soup that is being deleted serves on: it has shards that are not."""
    is_told_to_go = FORCE_DELETE in cluster.soup.metadata.annotations or cluster.namespace_ends
    trained = (cluster.shards[uid].status.ingredient for uid in cluster.living())
    return not is_told_to_go and any(trained)
