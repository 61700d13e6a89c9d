"""The facts of one soup that metrics show: plain values taken from its objects."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from stockpot.api.conditions import ConditionStatus, ConditionType, find
from stockpot.api.omissions import Omission
from stockpot.api.states import ShardState
from stockpot.api.v1alpha1 import DataShard, Figure, Soup, SoupRevision


@dataclass(frozen=True)
class SoupFacts:
    """One soup at the end of a round."""

    shards: Mapping[ShardState, int] = field(default_factory=dict)
    """The number of shards in each state; missing states have none."""
    revision_number: int | None = None
    """The number of the promoted revision; 0 is the base. None if nothing is promoted."""
    quality: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Figures by revision name and metric."""
    baseline: Mapping[str, float] = field(default_factory=dict)
    """The base's figures, by metric."""
    unlearning_since_s: tuple[float, ...] = ()
    """When each unlearning in progress was requested, in seconds since 1970.

    It covers shards, records that left a shard, and shards whose objects were force-deleted.
    """
    unlearning_deadline_s: float = float("inf")
    """How long an unlearning may take."""
    receipts: int = 0
    """How many unlearnings were signed."""
    servers: int = 0
    ready_servers: int = 0
    omissions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By shard name and reason, how much of the data is not used exactly as given."""
    held_out_omissions: Mapping[str, int] = field(default_factory=dict)
    """How much of the held-out data is not in the current revision's figures, by reason."""


def soup_facts(
    soup: Soup,
    shards: Iterable[DataShard],
    revisions: Iterable[SoupRevision] = (),
) -> SoupFacts:
    """Collect the facts of a soup from its objects.

    Args:
        soup: The Soup with the status that the reconciliation wrote.
        shards: All shards of the soup.
        revisions: The revisions whose figures are shown.
    """
    shards, revisions = tuple(shards), tuple(revisions)
    status = soup.status
    current = status.current_revision
    return SoupFacts(
        shards=Counter(map(_state, shards)),
        revision_number=current.number if current else None,
        quality={
            revision.metadata.name: figures
            for revision in revisions
            if (figures := _numbers(revision.status.evaluation))
        },
        baseline={
            figure.metric: float(figure.baseline)
            for figure in status.quality
            if figure.baseline is not None
        },
        unlearning_since_s=tuple(_all_since_s(soup, shards)),
        unlearning_deadline_s=soup.spec.unlearning.deadline_seconds,
        receipts=status.receipts.count,
        servers=status.serving.replicas,
        ready_servers=status.serving.ready_replicas,
        omissions={
            shard.metadata.name: _by_reason(shard.status.omissions)
            for shard in shards
            if shard.status.omissions
        },
        held_out_omissions=next(
            (
                _by_reason(revision.status.omissions)
                for revision in revisions
                if current and revision.metadata.name == current.name
            ),
            {},
        ),
    )


def trainings_in_progress(shards: Iterable[DataShard]) -> dict[str, float]:
    """Return the progress of each running training, 0 to 1, by the shard's name."""
    return {
        shard.metadata.name: (shard.status.training.progress_percent or 0) / 100
        for shard in shards
        if shard.status.training
        and shard.status.training.completed_at is None
        and shard.status.training.run_name
    }


def _by_reason(omissions: Iterable[Omission]) -> dict[str, int]:
    return {omission.reason: omission.count for omission in omissions}


STATES = {state.value: state for state in ShardState}


def _state(shard: DataShard) -> ShardState:
    """Return the state in the status; a deletion is known before the status says so."""
    if shard.metadata.deletion_timestamp:
        return ShardState.UNLEARNING
    return STATES.get(shard.status.state, ShardState.PENDING)


def _is_true(shard: DataShard, type_: ConditionType) -> bool:
    condition = find(shard.status.conditions, type_)
    return condition is not None and condition.status is ConditionStatus.TRUE


def _all_since_s(soup: Soup, shards: Iterable[DataShard]) -> Iterator[float]:
    for shard in shards:
        if (since := _leaving_since(shard)) is not None:
            yield datetime.fromisoformat(since).timestamp()
        for former in shard.status.former:
            yield datetime.fromisoformat(former.unlearning.requested_at).timestamp()
    for lost in soup.status.lost:
        yield datetime.fromisoformat(lost.unlearning.requested_at).timestamp()


def _leaving_since(shard: DataShard) -> str | None:
    if _is_true(shard, ConditionType.UNLEARNED):
        return None  # It expired and is unlearned; only its object stays.
    unlearning = shard.status.unlearning
    return unlearning.requested_at if unlearning else shard.metadata.deletion_timestamp


def _numbers(figures: Iterable[Figure]) -> dict[str, float]:
    return {figure.metric: float(figure.value) for figure in figures}
