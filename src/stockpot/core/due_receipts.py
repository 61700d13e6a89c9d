"""Receipts that are due to be signed together, and signed receipts that are to be recorded.

A soup has one sign run at a time, because each receipt names the one before it. A signed receipt is
looked up by the target's UID, never by a sequence: a recorded receipt of another target proves
nothing about this one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from stockpot.api.results import SignResult
from stockpot.api.runspec import MOST_SIGNED_AT_ONCE
from stockpot.core.actions import RecordReceipt
from stockpot.core.digests import Digest
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.core.run_starts import DueReceipt, StartSigning, is_signing
from stockpot.core.runs import Run
from stockpot.core.shard import record_counts
from stockpot.core.stages import CheckInput, PendingStage, Stage
from stockpot.core.unlearning_checks import missing
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.world import World

NEVER = datetime.max.replace(tzinfo=UTC)


def due_signing(
    inputs: CheckInput, pending: Mapping[ShardUID, PendingStage | None]
) -> StartSigning | None:
    """Return the next sign run: for up to 16 targets that lack nothing but their receipt.

    None while another one runs, while store and objects disagree about the chain, or where no
    receipt is due.
    """
    world = inputs.world
    if inputs.receipt_chain_diverged or any(
        run.is_active and is_signing(run) for run in world.runs
    ):
        return None
    unrecorded = frozenset(receipt.shard for receipt in signed_receipts(world))
    due = sorted(
        (target for target in world.targets if _is_due(target, pending[target.uid], unrecorded)),
        key=lambda target: (target.requested_at or NEVER, target.uid),
    )
    receipts: list[DueReceipt] = []
    for target in due:
        mine = (*_may_be_written(target, world), due_receipt(target, inputs))
        if len(receipts) + len(mine) > MOST_SIGNED_AT_ONCE:
            break
        receipts += mine
    return StartSigning(tuple(receipts)) if receipts else None


def _may_be_written(target: UnlearningTarget, world: World) -> tuple[DueReceipt, ...]:
    """Return receipts of records that left a shard before the whole shard was deleted.

    They are no longer due. But a killed run may have written one, which has to be recorded.
    """
    return tuple(
        DueReceipt(former, is_only_looked_for=True)
        for former in sorted(world.former_of_dying)
        if shard_of(former) == target.uid
    )[: MOST_SIGNED_AT_ONCE - 1]


def due_receipt(target: UnlearningTarget, inputs: CheckInput) -> DueReceipt:
    """Return the receipt of a target that is due, with what it has to name as missing."""
    return DueReceipt(target.uid, target.incomplete, missing(target, inputs))


def _is_due(
    target: UnlearningTarget, pending: PendingStage | None, unrecorded: frozenset[ShardUID]
) -> bool:
    is_next = pending is not None and pending.stage is Stage.RECEIPTED
    return is_next and target.uid not in unrecorded


def signed_receipts(world: World) -> tuple[RecordReceipt, ...]:
    """Return the receipts that were signed and are not recorded yet, in the order of the chain.

    A target's stage does not matter: what is signed is in the store for good.
    """
    # The deletion has to be recorded before a receipt of it.
    known = {target.uid: target for target in world.targets if target.requested_at}
    objects = {receipt.sequence for receipt in world.receipts}
    signed = {
        receipt.sequence: receipt
        for run in world.runs
        if isinstance(run.result, SignResult)
        for receipt in _receipts_in(run.result, run)
        if receipt.shard in known or receipt.shard in world.former_of_dying
        if not _is_recorded(receipt, known.get(receipt.shard), objects, world)
    }
    return tuple(signed[sequence] for sequence in sorted(signed))


def _is_recorded(
    receipt: RecordReceipt, target: UnlearningTarget | None, objects: set[int], world: World
) -> bool:
    if world.namespace_terminates:
        return target is None or target.last_receipt >= receipt.sequence
    return receipt.sequence in objects


def is_kept(run: Run, world: World) -> bool:
    """Whether a sign run is still needed: until it has ended and its receipts are recorded.

    One that waits for what a setting has given since has signed nothing, and is started again.
    """
    return (run.is_active and not run.is_cured) or any(
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
            kept_digests=receipt.kept_digests,
            survives_in=record_counts(receipt.survives_in),
            survives_in_count=receipt.survives_in_count,
            previous=Digest(previous) if previous else None,
        )
