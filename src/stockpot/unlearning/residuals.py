"""What a purge cannot reach, by name: a receipt says it, so that nobody takes it for gone.

What can be found by looking is looked for. The rest is said of every receipt: no proof reaches it.
"""

from collections.abc import Iterator
from enum import StrEnum

from stockpot.api.model import Model
from stockpot.store.port import Custody
from stockpot.unlearning.inventory import Inventory


class ResidualKind(StrEnum):
    """Of what kind it is."""

    UNKNOWN_LINEAGE = "UnknownLineage"
    LOCKED = "Locked"
    REPLICA = "Replica"
    BACKUP = "Backup"
    SOURCE = "Source"
    LOG = "Log"
    TIME_SERIES = "TimeSeries"


class Certainty(StrEnum):
    """How it is known."""

    FOUND = "Found"
    """It was looked for, and is there."""
    UNSEEN = "Unseen"
    """Whether it is there could not be seen with the rights that were given."""
    ALWAYS = "Always"
    """Nobody looked: it is outside of what can be seen from here."""


class NamedResidual(Model):
    """One thing that may still hold something, or tell of it."""

    kind: ResidualKind
    certainty: Certainty
    what: str


OUTSIDE = (
    (ResidualKind.BACKUP, "backups of the store, and snapshots of its disks"),
    (ResidualKind.SOURCE, "the bucket or volume that the data was read from"),
    (ResidualKind.LOG, "logs of pods, of the API server and of the store, which name the shard"),
    (ResidualKind.TIME_SERIES, "time series with the shard's or the soup's name on them"),
)


def name_residuals(inventory: Inventory, custody: Custody) -> tuple[NamedResidual, ...]:
    """Name what is left after a purge.

    Args:
        inventory: What it found, removed and left.
        custody: What the store does with objects beside keeping them.
    """
    return (
        *_visible_residuals(inventory, custody),
        *(
            NamedResidual(kind=kind, certainty=Certainty.ALWAYS, what=what)
            for kind, what in OUTSIDE
        ),
    )


def _visible_residuals(inventory: Inventory, custody: Custody) -> Iterator[NamedResidual]:
    strays = [residual for residual in inventory.residuals if not residual.kept_by]
    kept = sorted({residual.kept_by for residual in inventory.residuals if residual.kept_by})
    if strays:
        what = f"{len(strays)} objects under no manifest: the inventory lists them"
        yield NamedResidual(kind=ResidualKind.UNKNOWN_LINEAGE, certainty=Certainty.FOUND, what=what)
    for why in kept:
        count = sum(1 for residual in inventory.residuals if residual.kept_by == why)
        what = f"{count} objects and versions of it are kept by {why}"
        yield NamedResidual(kind=ResidualKind.LOCKED, certainty=Certainty.FOUND, what=what)
    if custody.locks is None:
        what = "whether the bucket locks objects"
        yield NamedResidual(kind=ResidualKind.LOCKED, certainty=Certainty.UNSEEN, what=what)
    for place in custody.replicas or ():
        what = f"the bucket is replicated to {place}"
        yield NamedResidual(kind=ResidualKind.REPLICA, certainty=Certainty.FOUND, what=what)
    if custody.replicas is None:
        what = "whether the bucket is replicated"
        yield NamedResidual(kind=ResidualKind.REPLICA, certainty=Certainty.UNSEEN, what=what)
