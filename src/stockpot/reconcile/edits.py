"""How objects change: pure functions from an object to its next form. Nothing here stores."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from stockpot.api.conditions import Condition, ConditionStatus, find
from stockpot.api.manifest import MergeWay
from stockpot.api.omissions import Omissions
from stockpot.api.runspec import Ending
from stockpot.api.training import WeightsDtype
from stockpot.api.v1alpha1 import (
    FINALIZER,
    MOST_ENDED,
    MOST_LINEAGE,
    CurrentRevision,
    DataShard,
    EndedServer,
    Figure,
    GrantedServer,
    IngredientStatus,
    LineageRef,
    ObjectMeta,
    Quality,
    RevisionMerge,
    RevisionPart,
    Served,
    ShardCounts,
    ShardTraining,
    ShardUnlearning,
    Soup,
    SoupRevision,
    SoupRevisionSpec,
    SoupRevisionStatus,
    SoupServing,
    UidRef,
)
from stockpot.core.actions import RecordRevision
from stockpot.core.digests import Digest, short
from stockpot.core.report import ConditionUpdate, ShardStatusReport, SoupStatusReport
from stockpot.core.world import Epoch, Promotion, ServerGrant, TrainingOutcome, World

EditShard = Callable[[DataShard], DataShard]
EditSoup = Callable[[Soup], Soup]
Holdable = TypeVar("Holdable", DataShard, Soup)


def timestamp(now: datetime) -> str:
    """Write a time as Kubernetes does: RFC 3339, in UTC, to the second."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def change_shard_status(shard: DataShard, **status: Any) -> DataShard:
    """Change what a shard says of itself."""
    return shard.model_copy(update={"status": shard.status.model_copy(update=status)})


def change_soup_status(soup: Soup, **status: Any) -> Soup:
    """Change what a soup says of itself."""
    return soup.model_copy(update={"status": soup.status.model_copy(update=status)})


def hold(thing: Holdable) -> Holdable:
    """Put our finalizer on it, unless it is already going."""
    if thing.metadata.deletion_timestamp or FINALIZER in thing.metadata.finalizers:
        return thing
    return _with_finalizers(thing, (*thing.metadata.finalizers, FINALIZER))


def release(thing: Holdable) -> Holdable:
    """Take our finalizer off it."""
    rest = tuple(finalizer for finalizer in thing.metadata.finalizers if finalizer != FINALIZER)
    return _with_finalizers(thing, rest)


def _with_finalizers(thing: Holdable, finalizers: tuple[str, ...]) -> Holdable:
    meta = thing.metadata.model_copy(update={"finalizers": finalizers})
    return thing.model_copy(update={"metadata": meta})


def tombstone(now: datetime) -> EditShard:
    """Write down when its deletion was seen, once."""

    def edit(shard: DataShard) -> DataShard:
        if shard.status.unlearning:
            return shard
        seen = ShardUnlearning(requested_at=timestamp(now), stage="Tombstoned")
        return change_shard_status(shard, unlearning=seen)

    return edit


def with_server(server: ServerGrant) -> EditSoup:
    """Write down that a server may hold something from now on."""

    def edit(soup: Soup) -> Soup:
        serving = soup.status.serving
        if any(one.uid == server.uid for one in serving.granted):
            return soup
        new = GrantedServer(name=server.name, uid=server.uid, node=server.node)
        granted = tuple(sorted((*serving.granted, new), key=lambda one: (one.name, one.uid)))
        return change_soup_status(soup, serving=serving.model_copy(update={"granted": granted}))

    return edit


def without_server(uid: str, how: Ending | None, now: datetime) -> EditSoup:
    """Say of a server whose end is confirmed only how it ended."""

    def edit(soup: Soup) -> Soup:
        serving = soup.status.serving
        gone = next((one for one in serving.granted if one.uid == uid), None)
        if gone is None:
            return soup
        granted = tuple(one for one in serving.granted if one.uid != uid)
        ended = serving.ended
        if how is not None:
            said = EndedServer(**gone.model_dump(), how=how, seen_at=timestamp(now))
            ended = (*ended, said)[-MOST_ENDED:]
        told = {"granted": granted, "ended": ended}
        return change_soup_status(soup, serving=serving.model_copy(update=told))

    return edit


def with_ingredient(trained: TrainingOutcome, size_bytes: int, run: str) -> EditShard:
    """Write down what its training came to, unless the shard has gone on since.

    A leader that was deposed may bring what has left the shard again, or has been purged already.
    """

    def edit(shard: DataShard) -> DataShard:
        has = shard.status.training_key if shard.status.ingredient else None
        is_former = any(one.training_key == trained.key for one in shard.status.former)
        is_short = not trained.left_out.issuperset(shard.status.left_out)
        if is_former or is_short or has not in {None, trained.key}:
            return shard
        old = shard.status.training or ShardTraining()
        done = old.model_copy(
            update={
                "run_name": run,
                "phase": "",
                "step": old.total_steps,
                "progress_percent": 100,
                "completed_at": timestamp(trained.at),
            }
        )
        return change_shard_status(
            shard,
            base_digest=trained.base,
            data_digest=trained.data,
            records=trained.records,
            omissions=trained.omissions,
            training_key=trained.key,
            ingredient=IngredientStatus(
                digest=trained.weights,
                size_bytes=size_bytes,
                left_out=tuple(sorted(trained.left_out)),
            ),
            training=done,
        )

    return edit


def with_base(digest: Digest) -> EditSoup:
    """Write down which base it is, at first use; it never drifts after that."""
    return lambda soup: (
        soup if soup.status.base_digest else change_soup_status(soup, base_digest=digest)
    )


def revision_name(soup: str, recipe: Digest) -> str:
    """Name a SoupRevision: by soup and recipe."""
    return f"{soup}-{short(recipe)}"


def new_revision(did: RecordRevision, soup: Soup, world: World, now: datetime) -> SoupRevision:
    """Write a SoupRevision."""
    names = {shard.uid: shard.name for shard in world.shards}
    recipe = did.revision.recipe
    merge = RevisionMerge(way=MergeWay(did.way), read_bytes=did.read_bytes) if did.way else None
    return SoupRevision(
        metadata=ObjectMeta(
            name=revision_name(soup.metadata.name, recipe.digest),
            namespace=soup.metadata.namespace,
        ),
        spec=SoupRevisionSpec(
            soup_ref=UidRef(name=soup.metadata.name, uid=soup.metadata.uid),
            recipe_digest=recipe.digest,
            parts=tuple(
                RevisionPart(
                    shard=UidRef(name=names[part.ingredient.shard], uid=part.ingredient.shard),
                    training_key=part.ingredient.key,
                    weights_digest=part.weights,
                    weight=part.weight,
                )
                for part in recipe.parts
            ),
            output=WeightsDtype(recipe.output),
            weights_digest=did.revision.weights,
            size_bytes=did.size_bytes,
        ),
        status=SoupRevisionStatus(created_at=timestamp(now), merge=merge),
    )


def with_figures(
    figures: tuple[tuple[str, str], ...], omissions: Omissions, now: datetime
) -> Callable[[SoupRevision], SoupRevision]:
    """Write what was measured of a revision, when, and what of the held-out data is not in it."""
    said = tuple(Figure(metric=metric, value=value) for metric, value in figures)

    def edit(revision: SoupRevision) -> SoupRevision:
        told = {"evaluation": said, "evaluated_at": timestamp(now), "omissions": omissions}
        status = revision.status.model_copy(update=told)
        return revision.model_copy(update={"status": status})

    return edit


def promoted(promotion: Promotion, seen: Epoch, now: datetime) -> EditSoup:
    """Name what is to be served, unless something was promoted that the decision did not know of.

    Args:
        promotion: What is to be served.
        seen: The soup's epoch when that was decided. The promotion's own says too little: it is
            above what servers say, who may know a newer one than a stale cache does.
        now: The time.
    """
    revision = promotion.revision

    def edit(soup: Soup) -> Soup:
        if soup.status.epoch != seen or seen >= promotion.epoch:
            return soup  # Another leader was quicker: the next round sees what it said.
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
        return change_soup_status(
            soup, current_revision=current, epoch=promotion.epoch, promotions=count
        )

    return edit


def conditions(
    old: tuple[Condition, ...], told: tuple[ConditionUpdate, ...], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Say how it is now; a time changes only where the status did."""
    new = []
    for one in told:
        status = ConditionStatus.TRUE if one.so else ConditionStatus.FALSE
        before = find(old, one.type)
        same = before is not None and before.status is status
        since = before.last_transition_time if before and same else timestamp(now)
        new.append(
            Condition(
                type=one.type.value,
                status=status,
                reason=one.reason.value,
                message=one.message,
                observed_generation=generation,
                last_transition_time=since,
            )
        )
    return tuple(new)


def with_shard_report(report: ShardStatusReport, now: datetime) -> EditShard:
    """Let a shard say how it is."""

    def edit(shard: DataShard) -> DataShard:
        status, generation = shard.status, shard.metadata.generation
        unlearning = status.unlearning
        if unlearning and report.stage:
            unlearning = unlearning.model_copy(update={"stage": report.stage})
        return change_shard_status(
            shard,
            observed_generation=generation,
            conditions=conditions(status.conditions, report.conditions, generation, now),
            training=_training(status.training, report),
            unlearning=unlearning,
        )

    return edit


def _training(before: ShardTraining | None, report: ShardStatusReport) -> ShardTraining | None:
    if report.run is None:
        return before
    if before is None or before.run_name != report.run:
        before = ShardTraining(run_name=report.run)
    now = report.advance
    if now is None:
        return before
    far = {
        "phase": now.phase,
        "step": now.step,
        "total_steps": now.total_steps,
        # Only what a phase of training has done counts: before it, nothing is learnt.
        "progress_percent": 100 * now.step // now.total_steps
        if now.phase == "training" and now.total_steps
        else before.progress_percent,
        "last_loss": now.loss or before.last_loss,
    }
    return before.model_copy(update=far)


def with_trouble(told: tuple[ConditionUpdate, ...], now: datetime) -> EditSoup:
    """Let a soup say why its round cannot come to an end."""

    def edit(soup: Soup) -> Soup:
        generation = soup.metadata.generation
        types = {one.type for one in told}
        kept = tuple(
            condition for condition in soup.status.conditions if condition.type not in types
        )
        said = conditions(soup.status.conditions, told, generation, now)
        return change_soup_status(soup, observed_generation=generation, conditions=(*said, *kept))

    return edit


def with_soup_report(
    report: SoupStatusReport,
    weights: dict[Digest, Digest],
    quality: tuple[Quality, ...],
    now: datetime,
) -> EditSoup:
    """Let the soup say how it is.

    Args:
        report: What was found.
        weights: For each recipe that servers answer with, the digest of its weights.
        quality: The current revision's figures.
        now: When it was found.
    """

    def edit(soup: Soup) -> Soup:
        generation = soup.metadata.generation
        return change_soup_status(
            soup,
            observed_generation=generation,
            conditions=conditions(soup.status.conditions, report.conditions, generation, now),
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
                selector=f"stockpot.dev/soup={soup.metadata.name}",
                served=tuple(
                    Served(weights_digest=weights[recipe], pods=count)
                    for recipe, count in report.served
                    if recipe in weights
                ),
            ),
            quality=quality,
        )

    return edit


def quality_of(current: SoupRevision | None, base: SoupRevision | None) -> tuple[Quality, ...]:
    """Put the current revision's figures beside the base's."""
    if current is None:
        return ()
    baseline = {one.metric: one.value for one in base.status.evaluation} if base else {}
    return tuple(
        Quality(metric=one.metric, value=one.value, baseline=baseline.get(one.metric))
        for one in current.status.evaluation
    )
