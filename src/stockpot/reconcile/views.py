"""From objects to the core's values. Pure, but for looking names up."""

import json
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from functools import lru_cache

from stockpot.api.serving import Granted, ServerState
from stockpot.api.v1alpha1 import (
    FINALIZER,
    FORCE_DELETE,
    Completeness,
    DataShard,
    Inclusion,
    OnLastShard,
    ShardUnlearning,
    Soup,
    SoupRevision,
    UnlearningReceipt,
)
from stockpot.core import world as core
from stockpot.core.actions import StartTraining
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.recipe import (
    Ingredient,
    Recipe,
    ShardUID,
    WeightedIngredient,
    former_of,
    shard_of,
)
from stockpot.core.training_key import BYTE_FIELDS
from stockpot.reconcile.extensions import resolve_weighting, unusable_training
from stockpot.reconcile.ports import ObservedObjects, ObservedServers

REMEMBERED = 20_000


def instant(text: str) -> datetime:
    """Read a time as the API writes it."""
    return datetime.fromisoformat(text)


def world_of(
    soup: Soup,
    seen: ObservedObjects,
    runs: tuple[core.Run, ...],
    asked: ObservedServers,
    now: datetime,
) -> core.World:
    """Put one soup with all of its shards, runs and servers together."""
    receipts = tuple(receipt_view(receipt) for receipt in seen.receipts)
    shards = (shard_view(shard, soup, receipts, now) for shard in seen.shards)
    # What has no finalizer and is going is not ours to forget, unless it left a trace.
    held = tuple(shard for shard in shards if shard.held or not shard.leaving)
    former = [one for shard in seen.shards for one in _former(shard, soup, receipts)]
    living = {shard.uid for shard in held if shard.alive}
    # What is left of a shard that goes, goes with it.
    of_living = [one for one in former if one.former and one.former.shard in living]
    return core.World(
        soup=soup_view(soup, seen.revisions, receipts),
        shards=(
            *held,
            *of_living,
            *_lost(soup, seen, runs, held, receipts),
        ),
        runs=runs,
        servers=asked.servers,
        replicas=asked.replicas,
        is_as_told=asked.is_as_told,
        hindrance=asked.hindrance,
        ended=asked.ended,
        endings=asked.endings,
        receipts=receipts,
        former_of_dying=frozenset(one.uid for one in former) - {one.uid for one in of_living},
        namespace_terminates=seen.namespace_terminates,
    )


def _former(
    shard: DataShard, soup: Soup, receipts: tuple[core.RecordedReceipt, ...]
) -> Iterator[core.Shard]:
    """See trainings with records that left their shard: each is unlearned by itself."""
    uid = ShardUID(shard.metadata.uid)
    training = StartTraining(uid, request_of(shard, soup)) if shard.status.former else None
    for one in shard.status.former if training else ():
        former = Ingredient(uid, Digest(one.training_key))
        name = former_of(former)
        yield core.Shard(
            uid=name,
            name=f"{shard.metadata.name} ({len(one.records)} records)",
            request=Digest(""),
            alive=False,
            requested_at=instant(one.unlearning.requested_at),
            incomplete=_incomplete(name, receipts, one.unlearning),
            last_receipt=_last_receipt(name, receipts, one.unlearning),
            receipt_digest=_receipt_digest(one.unlearning),
            former=former,
            successor=training.stem if training else "",
        )


def _lost(
    soup: Soup,
    seen: ObservedObjects,
    runs: tuple[core.Run, ...],
    held: tuple[core.Shard, ...],
    receipts: tuple[core.RecordedReceipt, ...],
) -> Iterator[core.Shard]:
    """Find shards that left a trace and are no objects any more, or do not wait for us."""
    known = {shard.uid for shard in held}
    noted = {ShardUID(one.uid): one for one in soup.status.lost}
    traces = {ShardUID(p.shard.uid): p.shard.name for r in seen.revisions for p in r.spec.parts}
    for run in runs:
        named = {one.shard for one in run.lineage}
        if not seen.namespace_terminates:
            # A purge or signing is a trace, too; but where the namespace terminates no receipt's
            # object can say that all was done.
            named |= {shard_of(uid) for uid in run.about}
        traces |= dict.fromkeys(named - traces.keys(), "")
    done = {receipt.shard for receipt in receipts if receipt.is_complete}
    for uid in sorted({*noted, *(traces.keys() - done)} - known):
        told = noted[uid].unlearning if uid in noted else None
        yield core.Shard(
            uid=uid,
            name=noted[uid].name if uid in noted else traces[uid] or uid[:8],
            request=Digest(""),
            alive=False,
            is_lost=True,
            is_forced=uid in noted and noted[uid].is_forced,
            requested_at=instant(told.requested_at) if told else None,
            incomplete=_incomplete(uid, receipts, told),
            last_receipt=_last_receipt(uid, receipts, told),
            receipt_digest=_receipt_digest(told),
        )


def _incomplete(
    uid: ShardUID, receipts: tuple[core.RecordedReceipt, ...], told: ShardUnlearning | None
) -> int:
    """How many there are: in a namespace that goes, status alone can say so."""
    stored = sum(1 for receipt in receipts if receipt.shard == uid and not receipt.is_complete)
    return max(stored, told.incomplete_receipts if told else 0)


def _last_receipt(
    uid: ShardUID, receipts: tuple[core.RecordedReceipt, ...], told: ShardUnlearning | None
) -> int:
    stored = (receipt.sequence for receipt in receipts if receipt.shard == uid)
    return max((told.last_receipt if told else 0, *stored))


def _receipt_digest(unlearning: ShardUnlearning | None) -> Digest | None:
    return Digest(unlearning.receipt_digest) if unlearning and unlearning.receipt_digest else None


def receipt_view(receipt: UnlearningReceipt) -> core.RecordedReceipt:
    """See an UnlearningReceipt as the core does."""
    spec = receipt.spec
    return core.RecordedReceipt(
        name=receipt.metadata.name,
        shard=ShardUID(spec.shard.uid),
        sequence=spec.sequence,
        is_complete=spec.completeness is Completeness.COMPLETE,
        digest=Digest(spec.digest),
        source=Digest(spec.source_digest) if spec.source_digest else None,
        data=Digest(spec.data_digest) if spec.data_digest else None,
        requested_at=instant(spec.requested_at) if spec.requested_at else None,
        signed_at=instant(spec.signed_at) if spec.signed_at else None,
    )


def granted_servers(soup: Soup) -> tuple[core.ServerGrant, ...]:
    """Every server that may hold something."""
    return tuple(
        core.ServerGrant(one.name, one.uid, one.node) for one in soup.status.serving.granted
    )


def source_digest(shard: DataShard) -> Digest:
    """Name the place that a shard's data is read from, without saying it."""
    return _named("source/1", shard.spec.source.model_dump_json(by_alias=True, exclude_none=True))


def request_of(shard: DataShard, soup: Soup) -> Digest:
    """Name what is asked for when this shard is to be trained."""
    spec, asked = shard.spec, soup.spec
    return _request(
        asked.base.model_dump_json(exclude_none=True),
        spec.source.model_dump_json(exclude_none=True),
        spec.digest,
        asked.training.model_dump_json(by_alias=True, include=set(BYTE_FIELDS)),
        tuple(sorted(set(spec.exclude_records))),
    )


# Every round names every shard's: in a large soup that is most of its time, and the same each time.
@lru_cache(maxsize=REMEMBERED)
def _named(version: str, text: str) -> Digest:
    return digest_of_json(version, json.loads(text))


@lru_cache(maxsize=REMEMBERED)
def _request(
    base: str, source: str, digest: str | None, training: str, left_out: tuple[str, ...]
) -> Digest:
    return digest_of_json(
        "training-request/1",
        {
            "base": json.loads(base),
            "source": json.loads(source),
            "digest": digest,
            "training": json.loads(training),
            # What nobody asked for names nothing: older requests keep their names.
            **({"excludeRecords": left_out} if left_out else {}),
        },
    )


def shard_view(
    shard: DataShard, soup: Soup, receipts: tuple[core.RecordedReceipt, ...], now: datetime
) -> core.Shard:
    """See a DataShard as the core does."""
    meta, spec, status = shard.metadata, shard.spec, shard.status
    asked = status.unlearning.requested_at if status.unlearning else None
    uid, data = ShardUID(meta.uid), status.data_digest or spec.digest
    expires_at = instant(spec.expire_at) if spec.expire_at else None
    # Unlearning is never taken back: its tombstone stands whatever the object says later.
    is_over = bool(asked or (expires_at and now >= expires_at))
    is_over = is_over or any(receipt.shard == uid for receipt in receipts)
    return core.Shard(
        uid=uid,
        name=meta.name,
        request=request_of(shard, soup),
        weight=Fraction(spec.weight),
        included=spec.inclusion is Inclusion.INCLUDED,
        alive=meta.deletion_timestamp is None and not is_over,
        leaving=meta.deletion_timestamp is not None,
        is_forced=is_forced(shard),
        is_noted=any(one.uid == uid for one in soup.status.lost),
        held=FINALIZER in meta.finalizers,
        expires_at=expires_at,
        incomplete=_incomplete(uid, receipts, status.unlearning),
        last_receipt=_last_receipt(uid, receipts, status.unlearning),
        receipt_digest=_receipt_digest(status.unlearning),
        source=source_digest(shard),
        data=Digest(data) if data else None,
        relearn=spec.relearn,
        requested_at=instant(asked) if asked else None,
        trained=_trained(shard),
        leave_out=frozenset(spec.exclude_records),
        forgot=frozenset(status.left_out),
        records_asked_at=instant(status.records_asked_at) if status.records_asked_at else None,
    )


def is_forced(shard: DataShard) -> bool:
    """Whether its object is to go at once. Who may say so, the API server has looked at."""
    meta = shard.metadata
    return bool(meta.deletion_timestamp) and meta.annotations.get(FORCE_DELETE) == "true"


def _trained(shard: DataShard) -> core.TrainingOutcome | None:
    status = shard.status
    done = status.training.completed_at if status.training else None
    if not (status.ingredient and status.training_key and done):
        return None
    return core.TrainingOutcome(
        key=Digest(status.training_key),
        weights=Digest(status.ingredient.digest),
        at=instant(done),
        base=Digest(status.base_digest or ""),
        data=Digest(status.data_digest or ""),
        records=status.records or 0,
        left_out=frozenset(status.ingredient.left_out),
        omissions=status.omissions,
    )


def revision_view(revision: SoupRevision) -> core.Revision:
    """See a SoupRevision as the core does."""
    spec = revision.spec
    parts = tuple(
        WeightedIngredient(
            Ingredient(ShardUID(part.shard.uid), Digest(part.training_key)),
            Digest(part.weights_digest),
            part.weight,
        )
        for part in spec.parts
    )
    return core.Revision(Recipe(parts, spec.output.value), Digest(spec.weights_digest))


def soup_view(
    soup: Soup, revisions: tuple[SoupRevision, ...], receipts: tuple[core.RecordedReceipt, ...]
) -> core.Soup:
    """See a Soup as the core does."""
    spec, status = soup.spec, soup.status
    done = status.collection
    made = {revision.metadata.name: revision_view(revision) for revision in revisions}
    current = status.current_revision
    promotion = None
    if current and current.name in made:
        promotion = core.Promotion(made[current.name], core.Epoch(current.epoch), current.number)
    return core.Soup(
        uid=core.SoupUID(soup.metadata.uid),
        name=soup.metadata.name,
        alive=soup.metadata.deletion_timestamp is None,
        held=FINALIZER in soup.metadata.finalizers,
        receipts=max((status.receipts.count, *(receipt.sequence for receipt in receipts))),
        head=Digest(status.receipts.head) if status.receipts.head else None,
        collection=core.LastRescan(
            done.number, instant(done.at), done.quiet, done.unrecorded_receipts
        )
        if done
        else None,
        suspended=spec.suspend,
        min_shards=spec.membership.min_shards,
        settle_s=spec.membership.settle_seconds,
        parallelism=spec.training.parallelism,
        max_attempts=spec.training.max_attempts,
        output=spec.merge.output.value,
        weighting=resolve_weighting(spec.merge.weighting),
        weighting_name=spec.merge.weighting.name,
        unknown=unusable_training(spec.training),
        evaluates=bool(spec.evaluation.suite),
        replicas=spec.serving.replicas,
        base=Digest(status.base_digest) if status.base_digest else None,
        current=promotion,
        epoch=core.Epoch(status.epoch),
        promotions=status.promotions,
        made=tuple(made.values()),
        evaluated=frozenset(
            Digest(revision.spec.recipe_digest)
            for revision in revisions
            if revision.status.evaluated_at or revision.status.evaluation
        ),
        deadline_s=spec.unlearning.deadline_seconds,
        scales_to_zero=spec.unlearning.on_last_shard is OnLastShard.SCALE_TO_ZERO,
        granted=granted_servers(soup),
    )


def server_view(name: str, state: ServerState, uid: str = "", node: str = "") -> core.Server:
    """See what a server said as the core does."""

    def recipe(granted: Granted | None) -> Digest | None:
        return Digest(granted.revision.recipe_digest) if granted else None

    return core.Server(
        name=name,
        uid=uid,
        node=node,
        boot=state.boot,
        ready=state.ready,
        epoch=core.Epoch(state.epoch),
        granted=recipe(state.granted),
        prepared=recipe(state.prepared),
        serving=recipe(state.serving),
        holds=frozenset(
            core.HeldRevision(
                Digest(hold.recipe_digest),
                frozenset(
                    Ingredient(ShardUID(p.shard), Digest(p.training_key)) for p in hold.lineage
                ),
            )
            for hold in state.holds
        ),
        problem=state.problem,
        nonce=state.nonce,
        chain=state.chain,
        chain_age_s=state.chain_age_s,
    )
