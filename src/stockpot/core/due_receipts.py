"""Receipts: which are due to be signed together, and which were signed and are to be recorded.

One sign run of a soup at a time, because each receipt names the one before it. What a run signed is
looked up by the shard's UID, never by a sequence: that another shard's receipt is recorded says
nothing about this one's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from stockpot.api.results import SignResult
from stockpot.api.runspec import MOST_SIGNED_AT_ONCE
from stockpot.core.actions import (
    DueReceipt,
    RecordReceipt,
    StartSigning,
    is_signing,
)
from stockpot.core.digests import Digest
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.core.stages import CheckInput, PendingStage, Stage
from stockpot.core.unlearning_checks import missing
from stockpot.core.world import Run, Shard, World

NEVER = datetime.max.replace(tzinfo=UTC)


def due_signing(
    scene: CheckInput, rungs: Mapping[ShardUID, PendingStage | None]
) -> StartSigning | None:
    """Return the next sign run: of up to 16 shards that lack nothing but their receipt.

    None while another one runs, while store and objects disagree about the chain, or where no
    receipt is due.
    """
    world = scene.world
    if scene.out_of_step or any(run.is_active and is_signing(run) for run in world.runs):
        return None
    unrecorded = frozenset(receipt.shard for receipt in signed_receipts(world))
    due = sorted(
        (shard for shard in world.shards if _is_due(shard, rungs[shard.uid], unrecorded)),
        key=lambda shard: (shard.requested_at or NEVER, shard.uid),
    )
    receipts: list[DueReceipt] = []
    for shard in due:
        mine = (*_may_be_written(shard, world), due_receipt(shard, scene))
        if len(receipts) + len(mine) > MOST_SIGNED_AT_ONCE:
            break
        receipts += mine
    return StartSigning(tuple(receipts)) if receipts else None


def _may_be_written(shard: Shard, world: World) -> tuple[DueReceipt, ...]:
    """Return receipts of records that left a shard before it was deleted as a whole.

    They are due no more. But a run that was killed may have written one, and it is recorded, too.
    """
    return tuple(
        DueReceipt(former, is_only_looked_for=True)
        for former in sorted(world.former_of_dying)
        if shard_of(former) == shard.uid
    )[: MOST_SIGNED_AT_ONCE - 1]


def due_receipt(shard: Shard, scene: CheckInput) -> DueReceipt:
    """Say which receipt of a shard is due, and what it has to name as missing."""
    return DueReceipt(shard.uid, shard.incomplete, missing(shard, scene))


def _is_due(shard: Shard, rung: PendingStage | None, unrecorded: frozenset[ShardUID]) -> bool:
    is_next = rung is not None and rung.stage is Stage.RECEIPTED
    return is_next and shard.uid not in unrecorded


def signed_receipts(world: World) -> tuple[RecordReceipt, ...]:
    """Return the receipts that were signed and are not recorded yet, in the order of the chain.

    Whatever rung a shard stands on by now: what is signed is in the store for good.
    """
    # What is unlearned has to be on record before what was signed of it.
    known = {shard.uid: shard for shard in world.shards if shard.requested_at}
    objects = {receipt.sequence for receipt in world.receipts}
    found = {
        receipt.sequence: receipt
        for run in world.runs
        if isinstance(run.result, SignResult)
        for receipt in _receipts_in(run.result, run)
        if receipt.shard in known or receipt.shard in world.former_of_dying
        if not _is_recorded(receipt, known.get(receipt.shard), objects, world)
    }
    return tuple(found[sequence] for sequence in sorted(found))


def _is_recorded(
    receipt: RecordReceipt, shard: Shard | None, objects: set[int], world: World
) -> bool:
    if world.namespace_terminates:
        return shard is None or shard.last_receipt >= receipt.sequence
    return receipt.sequence in objects


def is_kept(run: Run, world: World) -> bool:
    """Whether a sign run is still needed: while it runs, and until what it signed is recorded."""
    return run.is_active or any(
        receipt.shard in run.about for receipt in signed_receipts(replace(world, runs=(run,)))
    )


def _receipts_in(result: SignResult, run: Run) -> Iterator[RecordReceipt]:
    digests = {receipt.sequence: receipt.digest for receipt in result.receipts}
    for receipt in result.receipts:
        if not receipt.shard and len(run.about) != 1:
            continue  # A release that named no shard signed for one a run.
        previous = receipt.previous or digests.get(receipt.sequence - 1)
        yield RecordReceipt(
            ShardUID(receipt.shard) if receipt.shard else next(iter(run.about)),
            receipt.sequence,
            Digest(receipt.digest),
            is_complete=not (receipt.residuals or receipt.missing),
            signed_at=receipt.signed_at,
            residuals=receipt.residuals,
            missing=tuple(result.missing[place] for place in receipt.missing_named),
            previous=Digest(previous) if previous else None,
        )
