"""The kinds of runs: what a workload does, as an enumeration that specs, results and Jobs share."""

from collections.abc import Collection
from enum import StrEnum


class RunKind(StrEnum):
    """The kind of a run: the verb of its RunSpec, but the verb `purge` has two kinds."""

    TRAIN = "train"
    MERGE = "merge"
    EVALUATE = "evaluate"
    SERVE = "serve"
    PURGE = "purge"
    """Removes a shard, or one training of it, from the store."""
    RESCAN = "rescan"
    """Removes late writes of purged shards' artefacts: the verb `purge` without a shard."""
    SIGN = "sign"
    FIND = "find"
    """Finds records of a shard by name, in the list of what it was trained on."""
    COMPARE = "compare"
    """Counts the records that a shard shares with others of its soup."""
    UNKNOWN = "unknown"
    """A kind that this version does not have: a newer release started the run."""


def kind_of_run(verb: str, shards: Collection[str]) -> RunKind:
    """Return the kind of a run of this release or of the one before it.

    Args:
        verb: The verb of its RunSpec, which is also the component label of its Job.
        shards: UIDs of the shards that it trains, purges or signs for.
    """
    if verb == RunKind.PURGE and not shards:
        return RunKind.RESCAN
    is_verb = verb in set(RunKind) and verb != RunKind.RESCAN
    return RunKind(verb) if is_verb else RunKind.UNKNOWN
