"""Reads and writes Soups: their settings, and what is promoted, measured and recorded."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from stockpot.api.conditions import Condition, ConditionType, Reason
from stockpot.api.states import SoupState
from stockpot.api.v1alpha1 import (
    FINALIZER,
    MOST_LINEAGE,
    Collection,
    CurrentRevision,
    LineageRef,
    OnLastShard,
    OnOverlap,
    Quality,
    ReceiptChain,
    Served,
    ShardCounts,
    Soup,
    SoupRevision,
    SoupServing,
)
from stockpot.core import soup as core
from stockpot.core.actions import RecordReceipt, RecordRescan, RecordRetry
from stockpot.core.digests import Digest
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.report import ConditionUpdate, SoupStatusReport
from stockpot.core.revision import Epoch, Promotion
from stockpot.core.servers import ServerGrant
from stockpot.core.soup import LastRescan, SoupUID
from stockpot.reconcile.extensions import (
    resolve_weighting,
    unusable_evaluation,
    unusable_training,
)
from stockpot.reconcile.objects.fields import (
    conditions,
    instant,
    is_forced,
    retried_status,
    retry_request,
    timestamp,
)
from stockpot.reconcile.objects.revision import revision_name, revision_view

EditSoup = Callable[[Soup], Soup]


SERVERS = "app.kubernetes.io/component=serve,stockpot.dev/soup-uid={uid}"
"""Selects the servers of a soup for its subresource scale, and none of its other pods."""
MOST_UNRECORDED = 16
"""Most receipts without an object that a Soup's status names; the next rescan names others."""


def change_soup_status(soup: Soup, **status: Any) -> Soup:
    """Replace fields of a soup's status."""
    return soup.model_copy(update={"status": soup.status.model_copy(update=status)})


def soup_view(
    soup: Soup, revisions: tuple[SoupRevision, ...], receipts: tuple[RecordedReceipt, ...]
) -> core.Soup:
    """Return a Soup as the core's value."""
    spec, status = soup.spec, soup.status
    done = status.collection
    made = {revision.metadata.name: revision_view(revision) for revision in revisions}
    current = status.current_revision
    promotion = None
    if current and current.name in made:
        promotion = Promotion(made[current.name], Epoch(current.epoch), current.number)
    return core.Soup(
        uid=SoupUID(soup.metadata.uid),
        name=soup.metadata.name,
        alive=soup.metadata.deletion_timestamp is None,
        is_forced=is_forced(soup),
        held=FINALIZER in soup.metadata.finalizers,
        receipts=max((status.receipts.count, *(receipt.sequence for receipt in receipts))),
        head=Digest(status.receipts.head) if status.receipts.head else None,
        last_rescan=LastRescan(done.number, instant(done.at), done.quiet, done.unrecorded_receipts)
        if done
        else None,
        suspended=spec.suspend,
        min_shards=spec.membership.min_shards,
        settle_s=spec.membership.settle_seconds,
        refuses_overlaps=spec.membership.on_overlap is OnOverlap.REFUSE,
        parallelism=spec.training.parallelism,
        max_attempts=spec.training.max_attempts,
        output=spec.merge.output.value,
        weighting=resolve_weighting(spec.merge.weighting),
        weighting_name=spec.merge.weighting.name,
        unknown=unusable_training(spec.training, status.base_pixels_per_latent),
        evaluates=bool(spec.evaluation.suite),
        unusable_evaluation=unusable_evaluation(spec.evaluation),
        replicas=spec.serving.replicas,
        base=Digest(status.base_digest) if status.base_digest else None,
        current=promotion,
        epoch=Epoch(status.epoch),
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
        retry=retry_request(soup),
    )


def granted_servers(soup: Soup) -> tuple[ServerGrant, ...]:
    """Return the servers that may hold something."""
    return tuple(
        ServerGrant(server.name, server.uid, server.node) for server in soup.status.serving.granted
    )


def with_base(digest: Digest, pixels_per_latent: int | None = None) -> EditSoup:
    """Record the base at first use; its digest never changes after that."""

    def edit(soup: Soup) -> Soup:
        status = soup.status
        return change_soup_status(
            soup,
            base_digest=status.base_digest or digest,
            base_pixels_per_latent=status.base_pixels_per_latent or pixels_per_latent,
        )

    return edit


_NOT_YET = "the promoted revision is not served yet"
NOT_ROLLED_OUT = (
    ConditionUpdate(ConditionType.READY, False, Reason.ROLLING_OUT, _NOT_YET),
    ConditionUpdate(ConditionType.RECONCILING, True, Reason.ROLLING_OUT, _NOT_YET),
    ConditionUpdate(ConditionType.SERVING, False, Reason.ROLLING_OUT, _NOT_YET),
)


def promoted(promotion: Promotion, expected: Epoch, now: datetime) -> EditSoup:
    """Promote a revision by compare-and-swap on the soup's epoch.

    Args:
        promotion: What is to be served.
        expected: The soup's epoch when that was decided. The promotion's own epoch does not tell:
            it is above those of servers, which may be newer than a stale cache.
        now: The time.
    """
    revision = promotion.revision

    def edit(soup: Soup) -> Soup:
        if soup.status.epoch != expected or expected >= promotion.epoch:
            return soup  # Another leader has promoted: the next round observes that.
        lineage = sorted(revision.lineage)
        current = CurrentRevision(
            name=revision_name(soup.metadata.name, revision.recipe.digest),
            number=promotion.number,
            recipe_digest=revision.recipe.digest,
            weights_digest=revision.weights,
            lineage=tuple(
                LineageRef(shard=i.shard, training_key=i.key) for i in lineage[:MOST_LINEAGE]
            ),
            members=len(lineage),
            promoted_at=timestamp(now),
            epoch=promotion.epoch,
        )
        count = max(soup.status.promotions, promotion.number)
        # In one write: a Soup is not Ready with a revision that no server has yet.
        return change_soup_status(
            soup,
            current_revision=current,
            epoch=promotion.epoch,
            promotions=count,
            state=SoupState.ROLLING_OUT.value,
            conditions=_changed(soup, NOT_ROLLED_OUT, now),
        )

    return edit


def with_receipt(did: RecordReceipt) -> EditSoup:
    """Record the head of the receipt chain."""

    def edit(soup: Soup) -> Soup:
        if soup.status.receipts.count >= did.sequence:
            return soup
        return change_soup_status(soup, receipts=ReceiptChain(count=did.sequence, head=did.digest))

    return edit


def with_collection(did: RecordRescan, now: datetime) -> EditSoup:
    """Record the result of a rescan for resurrected artifacts, once for each rescan."""

    def edit(soup: Soup) -> Soup:
        before = soup.status.collection
        if before and before.number >= did.number:
            return soup
        return change_soup_status(
            soup,
            collection=Collection(
                number=did.number,
                at=timestamp(now),
                quiet=0 if did.removed or before is None else before.quiet + 1,
                removed_objects=did.removed + (before.removed_objects if before else 0),
                unrecorded_receipts=did.unrecorded[:MOST_UNRECORDED],
            ),
        )

    return edit


def with_soup_retry(did: RecordRetry) -> EditSoup:
    """Record that a request to retry is carried out."""
    return lambda soup: change_soup_status(soup, retried=retried_status(did))


def with_trouble(updates: tuple[ConditionUpdate, ...], now: datetime) -> EditSoup:
    """Write into a soup why its round fails."""

    def edit(soup: Soup) -> Soup:
        return change_soup_status(
            soup,
            observed_generation=soup.metadata.generation,
            conditions=_changed(soup, updates, now),
            state=SoupState.STALLED.value,
        )

    return edit


def _changed(
    soup: Soup, updates: tuple[ConditionUpdate, ...], now: datetime
) -> tuple[Condition, ...]:
    """Return a soup's conditions with these, and the others as they are."""
    known = soup.status.conditions
    types = {update.type for update in updates}
    kept = tuple(condition for condition in known if condition.type not in types)
    return (*conditions(known, updates, soup.metadata.generation, now), *kept)


def with_soup_report(
    report: SoupStatusReport,
    weights: dict[Digest, Digest],
    quality: tuple[Quality, ...],
    now: datetime,
) -> EditSoup:
    """Write the derived status into the soup.

    Args:
        report: The derived status.
        weights: For each recipe that servers answer with, the digest of its weights.
        quality: The current revision's figures.
        now: The time.
    """

    def edit(soup: Soup) -> Soup:
        generation = soup.metadata.generation
        return change_soup_status(
            soup,
            observed_generation=generation,
            conditions=conditions(soup.status.conditions, report.conditions, generation, now),
            state=report.state.value,
            shards=ShardCounts(
                total=report.total,
                trained=report.trained,
                included=report.included,
                failed=report.failed,
                deleting=report.deleting,
            ),
            serving=SoupServing(
                granted=soup.status.serving.granted,
                ended=soup.status.serving.ended,
                replicas=report.replicas,
                ready_replicas=report.ready_replicas,
                selector=SERVERS.format(uid=soup.metadata.uid),
                served=tuple(
                    Served(weights_digest=weights[recipe], pods=count)
                    for recipe, count in report.served
                    if recipe in weights
                ),
            ),
            quality=quality,
        )

    return edit
