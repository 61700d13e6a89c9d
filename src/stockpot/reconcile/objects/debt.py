"""Reads and writes UnlearningDebts: what is owed of a Soup whose object went before the end.

A debt is paid by the rounds that unlearn every soup: `soup_of` makes the Soup that the debts stand
for, deleted and with nothing but lost shards, and `with_progress` writes what a round changed in
it back into each debt. A soup with many shards leaves several debts, and one chain of receipts.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from stockpot.api.conditions import Condition, ConditionType, Reason
from stockpot.api.source import S3Source
from stockpot.api.v1alpha1 import (
    FINALIZER,
    MOST_OWED,
    Base,
    DebtorSoup,
    DebtReason,
    LostShard,
    NamedRef,
    ObjectMeta,
    OwedShard,
    ShardUnlearning,
    Soup,
    SoupSpec,
    SoupStatus,
    Unlearning,
    UnlearningDebt,
    UnlearningDebtSpec,
    UnlearningDebtStatus,
)
from stockpot.core.digests import digest_of_json, short
from stockpot.core.recipe import ShardUID
from stockpot.core.report import ConditionUpdate
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.world import World
from stockpot.reconcile.objects.fields import conditions, timestamp
from stockpot.reconcile.objects.target_details import gone_shard, keys_of
from stockpot.reconcile.ports import ObservedObjects

ON_A_SOUP = frozenset({ConditionType.READY, ConditionType.STALLED, ConditionType.RECONCILING})
"""Conditions of the Soup that its debts have as well."""


def debt_stem(name: str, uid: str) -> str:
    """Return what the names of all debts of a soup begin with."""
    return f"{name[:40].rstrip('-')}-{uid[:8]}"


def stem_of(debt: UnlearningDebt) -> str:
    """Return the stem of a debt's name."""
    return debt_stem(debt.spec.soup.name, debt.spec.soup.uid)


def is_paid(debt: UnlearningDebt) -> bool:
    """Whether nothing is owed any more."""
    return FINALIZER not in debt.metadata.finalizers


def owed_uids(debts: Sequence[UnlearningDebt]) -> frozenset[ShardUID]:
    """Return what debts have, paid or not."""
    return frozenset(ShardUID(shard.uid) for debt in debts for shard in debt.spec.shards)


def new_debts(
    uids: Sequence[ShardUID], soup: Soup, observed: ObservedObjects, world: World, now: datetime
) -> Iterator[UnlearningDebt]:
    """Build the debts of targets, each of at most 256, named by what is in them."""
    known = {target.uid: target for target in world.targets}
    targets = [known[uid] for uid in sorted(uids) if uid in known]
    for first in range(0, len(targets), MOST_OWED):
        part = targets[first : first + MOST_OWED]
        digest = digest_of_json("debt/1", [target.uid for target in part])
        meta = soup.metadata
        yield UnlearningDebt(
            metadata=ObjectMeta(
                name=f"{debt_stem(meta.name, meta.uid)}-{short(digest)}", finalizers=(FINALIZER,)
            ),
            spec=UnlearningDebtSpec(
                soup=DebtorSoup(namespace=meta.namespace, name=meta.name, uid=meta.uid),
                store=soup.spec.store.name,
                reason=DebtReason.FORCE_DELETED
                if world.soup.is_forced
                else DebtReason.NAMESPACE_ENDED,
                deadline_seconds=soup.spec.unlearning.deadline_seconds,
                receipts=soup.status.receipts,
                shards=tuple(_owed(target, soup, observed, world, now) for target in part),
                servers=soup.status.serving.granted,
            ),
        )


def _owed(
    target: UnlearningTarget, soup: Soup, observed: ObservedObjects, world: World, now: datetime
) -> LostShard:
    """Return the note of one target, as a Soup's status has it of a shard without an object."""
    note = next((note for note in soup.status.lost if note.uid == target.uid), None)
    if note is not None:
        return note
    unlearning = ShardUnlearning(
        requested_at=timestamp(target.requested_at or now),
        stage="Tombstoned",
        incomplete_receipts=target.incomplete,
        last_receipt=target.last_receipt,
        receipt_digest=target.receipt_digest,
    )
    keys = keys_of(target, world)
    if target.is_lost:
        # Its finalizer was removed, and no round has noted it yet.
        return LostShard(
            name=target.name, uid=target.uid, training_keys=keys[:16], unlearning=unlearning
        )
    details = gone_shard(target.uid, soup, observed, world)
    return LostShard(
        name=details.ref.name,
        uid=target.uid,
        training_keys=tuple(dict.fromkeys((*details.training_keys, *keys)))[:16],
        source_digest=details.source_digest,
        data_digest=details.data_digest,
        is_forced=target.is_forced or world.soup.is_forced,
        is_owed=True,
        unlearning=unlearning,
    )


def soup_of(debts: Sequence[UnlearningDebt]) -> Soup:
    """Return the Soup that debts of one soup stand for; what is paid is not in it.

    Args:
        debts: At least one. Those that are paid count only for the chain of receipts.
    """
    spec = debts[0].spec
    unpaid = [debt for debt in debts if not is_paid(debt)]
    ended = {uid for debt in debts for uid in debt.status.ended}
    receipts = max(
        (chain for debt in debts for chain in (debt.spec.receipts, debt.status.receipts)),
        key=lambda chain: chain.count,
    )
    servers = {server.uid: server for debt in debts for server in debt.spec.servers}
    since = min(debt.metadata.creation_timestamp or _NEVER for debt in debts)
    status = SoupStatus(
        conditions=unpaid[0].status.conditions if unpaid else (),
        receipts=receipts,
        # A leader that was deposed may have written a shard into a second debt.
        lost=tuple({note.uid: note for debt in unpaid for note in _unpaid_shards(debt)}.values()),
    )
    serving = status.serving.model_copy(
        update={"granted": tuple(s for uid, s in sorted(servers.items()) if uid not in ended)}
    )
    return Soup(
        metadata=ObjectMeta(
            name=spec.soup.name,
            namespace=spec.soup.namespace,
            uid=spec.soup.uid,
            deletion_timestamp=since,
            finalizers=(FINALIZER,) if unpaid else (),
        ),
        # What it was trained from does not matter any more.
        spec=SoupSpec(
            base=Base(s3=S3Source(prefix="none")),
            store=NamedRef(name=spec.store),
            unlearning=Unlearning(deadline_seconds=spec.deadline_seconds),
        ),
        status=status.model_copy(update={"serving": serving}),
    )


_NEVER = "1970-01-01T00:00:00Z"


def _unpaid_shards(debt: UnlearningDebt) -> Iterator[LostShard]:
    progress = {shard.uid: shard for shard in debt.status.shards}
    for shard in debt.spec.shards:
        known = progress.get(shard.uid)
        if known is None:
            yield shard
        elif not known.is_paid:
            yield shard.model_copy(update={"unlearning": known.unlearning})


def with_progress(
    debt: UnlearningDebt, soup: Soup, stages: dict[str, str], now: datetime
) -> UnlearningDebt:
    """Write into a debt what a round changed in the Soup that it stands for.

    Args:
        debt: The debt, which is not paid.
        soup: The Soup of `soup_of`, as the round left it.
        stages: The pending stage of each target, by UID.
        now: The time.
    """
    left = {note.uid: note.unlearning for note in soup.status.lost}
    before = {shard.uid: shard for shard in debt.status.shards}
    shards = tuple(
        OwedShard(
            uid=shard.uid,
            unlearning=_staged(left[shard.uid], stages.get(shard.uid, ""))
            if shard.uid in left
            else _staged((before.get(shard.uid) or shard).unlearning, "Released"),
            is_paid=shard.uid not in left,
        )
        for shard in debt.spec.shards
    )
    owed = sum(1 for shard in shards if not shard.is_paid)
    # The Soup is released once nothing of it runs any more.
    paid = not owed and FINALIZER not in soup.metadata.finalizers
    granted = {server.uid for server in soup.status.serving.granted}
    status = UnlearningDebtStatus(
        observed_generation=debt.metadata.generation,
        conditions=_paid_conditions(debt, now)
        if paid
        else tuple(
            condition.model_copy(update={"observed_generation": debt.metadata.generation})
            for condition in soup.status.conditions
            if condition.type in ON_A_SOUP
        ),
        owed=owed,
        shards=shards,
        receipts=soup.status.receipts,
        ended=tuple(server.uid for server in debt.spec.servers if server.uid not in granted),
    )
    finalizers = () if paid else debt.metadata.finalizers
    meta = debt.metadata.model_copy(update={"finalizers": finalizers})
    return debt.model_copy(update={"metadata": meta, "status": status})


def _staged(unlearning: ShardUnlearning, stage: str) -> ShardUnlearning:
    return unlearning.model_copy(update={"stage": stage}) if stage else unlearning


def _paid_conditions(debt: UnlearningDebt, now: datetime) -> tuple[Condition, ...]:
    spec = debt.spec
    message = (
        f"everything of Soup {spec.soup.namespace}/{spec.soup.name} is unlearned; its receipts are "
        f"in the store {spec.store}: stockpot receipts lists them"
    )
    update = ConditionUpdate(ConditionType.READY, so=True, reason=Reason.PAID, message=message)
    return conditions(debt.status.conditions, (update,), debt.metadata.generation, now)
