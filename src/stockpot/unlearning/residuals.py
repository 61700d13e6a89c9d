"""Names what a purge cannot reach, so that a receipt does not suggest that it is gone.

Detectable residuals (locks, replication, unknown lineage) are looked up in the store. The others,
such as backups and logs, are named in every receipt.
"""

from collections.abc import Iterator
from enum import StrEnum

from stockpot.api.model import Model
from stockpot.store.port import Custody
from stockpot.unlearning.inventory import Inventory


class ResidualKind(StrEnum):
    """The kind of a residual."""

    UNKNOWN_LINEAGE = "UnknownLineage"
    LOCKED = "Locked"
    REPLICA = "Replica"
    BACKUP = "Backup"
    SOURCE = "Source"
    LOG = "Log"
    TIME_SERIES = "TimeSeries"


class Certainty(StrEnum):
    """How a residual is known."""

    DETECTED = "Found"
    """It was detected."""
    UNSEEN = "Unseen"
    """The credentials do not allow to detect it."""
    ALWAYS = "Always"
    """It cannot be detected from here, so every receipt names it."""


class NamedResidual(Model):
    """One place that may still hold something of a shard, or mention it."""

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
    """Name what may be left after a purge.

    Args:
        inventory: The purge's record.
        custody: Whether the store locks objects, and where it replicates them.
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
        yield NamedResidual(
            kind=ResidualKind.UNKNOWN_LINEAGE, certainty=Certainty.DETECTED, what=what
        )
    for why in kept:
        count = sum(1 for residual in inventory.residuals if residual.kept_by == why)
        what = f"{count} objects and versions of it are kept by {why}"
        yield NamedResidual(kind=ResidualKind.LOCKED, certainty=Certainty.DETECTED, what=what)
    if custody.locks is None:
        what = "whether the bucket locks objects"
        yield NamedResidual(kind=ResidualKind.LOCKED, certainty=Certainty.UNSEEN, what=what)
    for place in custody.replicas or ():
        what = f"the bucket is replicated to {place}"
        yield NamedResidual(kind=ResidualKind.REPLICA, certainty=Certainty.DETECTED, what=what)
    if custody.replicas is None:
        what = "whether the bucket is replicated"
        yield NamedResidual(kind=ResidualKind.REPLICA, certainty=Certainty.UNSEEN, what=what)
