"""Reads and writes DataShards: what is to be trained, with which data, and what came of it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any

from stockpot.api.v1alpha1 import (
    FINALIZER,
    MOST_EXCLUDED,
    MOST_FORMER,
    ComparisonStatus,
    DataShard,
    FormerTraining,
    FoundRecordsStatus,
    Inclusion,
    IngredientStatus,
    OverlapStatus,
    ShardTraining,
    Soup,
)
from stockpot.api.v1alpha1 import ShardUnlearning as Unlearning
from stockpot.core.actions import DropIngredient, RecordComparison, RecordFoundRecords, RecordRetry
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.recipe import ShardUID
from stockpot.core.report import ShardStatusReport
from stockpot.core.shard import (
    Comparison,
    FoundRecords,
    RecordCounts,
    Shard,
    TrainingOutcome,
    record_counts,
)
from stockpot.core.training_key import BYTE_FIELDS
from stockpot.reconcile.objects.fields import (
    conditions,
    instant,
    retried_status,
    retry_request,
    timestamp,
)

EditShard = Callable[[DataShard], DataShard]


REMEMBERED = 20_000


def change_shard_status(shard: DataShard, **status: Any) -> DataShard:
    """Replace fields of a shard's status."""
    return shard.model_copy(update={"status": shard.status.model_copy(update=status)})


def shard_view(shard: DataShard, soup: Soup, now: datetime) -> Shard:
    """Return a DataShard as the core's value."""
    meta, spec, status = shard.metadata, shard.spec, shard.status
    data = status.data_digest or spec.digest
    request = request_of(shard, soup)
    asked_at = instant(status.records_asked_at) if status.records_asked_at else None
    patience = timedelta(seconds=soup.spec.unlearning.deadline_seconds)
    return Shard(
        uid=ShardUID(meta.uid),
        name=meta.name,
        request=request,
        weight=Fraction(spec.weight),
        included=spec.inclusion is Inclusion.INCLUDED,
        held=FINALIZER in meta.finalizers,
        expires_at=instant(spec.expire_at) if spec.expire_at else None,
        source=source_digest(shard),
        data=Digest(data) if data else None,
        relearn=frozenset(filter(None, spec.relearn.split(","))),
        first_trained_at=instant(status.first_trained_at) if status.first_trained_at else None,
        trained=_trained(shard),
        excluded_records=frozenset(spec.exclude_records),
        forgotten_records=frozenset(status.left_out),
        records_asked_at=asked_at,
        comparison=_comparison(shard),
        found_records=_found_records(shard, request),
        retry=retry_request(shard),
        is_removal_overdue=asked_at is not None and now >= asked_at + patience,
    )


def _comparison(shard: DataShard) -> Comparison | None:
    status = shard.status.comparison
    if status is None or status.training_key != shard.status.training_key:
        return None  # It is about another ingredient.
    return Comparison(
        records=status.records,
        shared=record_counts(status.shared),
        shared_records=status.shared_records,
        shared_with=status.shared_with,
        unread=status.unread,
        similar=record_counts(status.similar),
        similar_with=status.similar_with,
        returning=record_counts(status.returning),
        returning_count=status.returning_count,
        unread_lists=status.unread_lists,
    )


def _found_records(shard: DataShard, request: Digest) -> FoundRecords | None:
    search = shard.status.found_records
    if search is None or search.request != request:
        return None  # It is about other names.
    return FoundRecords(search.records, search.covered, search.unknown, search.unknown_count)


def _trained(shard: DataShard) -> TrainingOutcome | None:
    status = shard.status
    done = status.training.completed_at if status.training else None
    if not (status.ingredient and status.training_key and done):
        return None
    return TrainingOutcome(
        key=Digest(status.training_key),
        weights=Digest(status.ingredient.digest),
        at=instant(done),
        base=Digest(status.base_digest or ""),
        data=Digest(status.data_digest or ""),
        records=status.records or 0,
        left_out=frozenset(status.ingredient.left_out),
        omissions=status.omissions,
    )


def source_digest(shard: DataShard) -> Digest:
    """Return a digest of the place that a shard's data is read from, without disclosing it."""
    return _named("source/1", shard.spec.source.model_dump_json(by_alias=True, exclude_none=True))


def request_of(shard: DataShard, soup: Soup) -> Digest:
    """Return a digest of everything that the training of a shard depends on; it names the runs."""
    spec = shard.spec
    return _request(
        soup.spec.base.model_dump_json(exclude_none=True),
        spec.source.model_dump_json(exclude_none=True),
        spec.digest,
        soup.spec.training.model_dump_json(by_alias=True, include=set(BYTE_FIELDS)),
        tuple(sorted(set(spec.exclude_records))),
    )


# Every round needs these digests of every shard; without a cache that is most of a round's time.
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
            # Left out where empty, so that older requests keep their digests.
            **({"excludeRecords": left_out} if left_out else {}),
        },
    )


def with_ingredient(trained: TrainingOutcome, size_bytes: int, run: str) -> EditShard:
    """Record the result of a training, unless the shard has changed since.

    A deposed leader may bring an ingredient that has left the shard, or that was purged.
    """

    def edit(shard: DataShard) -> DataShard:
        has = shard.status.training_key if shard.status.ingredient else None
        is_former = any(former.training_key == trained.key for former in shard.status.former)
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
            first_trained_at=shard.status.first_trained_at or timestamp(trained.at),
        )

    return edit


def request_record_removal(now: datetime) -> EditShard:
    """Record once when records were named that are to leave the shard."""
    return lambda shard: (
        shard
        if shard.status.records_asked_at
        else change_shard_status(shard, records_asked_at=timestamp(now))
    )


def with_found_records(did: RecordFoundRecords) -> EditShard:
    """Record which of the named records the shard was trained on."""
    records = did.records
    status = FoundRecordsStatus(
        request=did.request,
        records=records.records,
        covered=records.covered,
        unknown=records.unknown,
        unknown_count=records.unknown_count,
    )
    return lambda shard: change_shard_status(shard, found_records=status)


def with_comparison(did: RecordComparison) -> EditShard:
    """Record what an ingredient has in common with others."""
    comparison = did.comparison
    status = ComparisonStatus(
        training_key=did.ingredient.key,
        records=comparison.records,
        shared_records=comparison.shared_records,
        shared=_overlap_statuses(comparison.shared),
        shared_with=comparison.shared_with,
        unread=comparison.unread,
        similar=_overlap_statuses(comparison.similar),
        similar_with=comparison.similar_with,
        returning=_overlap_statuses(comparison.returning),
        returning_count=comparison.returning_count,
        unread_lists=comparison.unread_lists,
    )
    return lambda shard: change_shard_status(shard, comparison=status)


def _overlap_statuses(counts: RecordCounts) -> tuple[OverlapStatus, ...]:
    return tuple(OverlapStatus(shard=uid, records=number) for uid, number in counts)


def with_retry(did: RecordRetry) -> EditShard:
    """Record that a request to retry is carried out."""
    return lambda shard: change_shard_status(shard, retried=retried_status(did))


def cancel_record_removal(shard: DataShard) -> DataShard:
    """Remove the note that records are to leave the shard."""
    return change_shard_status(shard, records_asked_at=None, found_records=None)


def drop_ingredient(did: DropIngredient, now: datetime) -> EditShard:
    """Drop the ingredient and record it as an unlearning target, in one write."""

    def edit(shard: DataShard) -> DataShard:
        status = shard.status
        known = {former.training_key for former in status.former}
        is_other = did.is_known and status.training_key != did.former.key
        if is_other or did.former.key in known or len(known) == MOST_FORMER:
            return shard  # Done before; or the list is full, and the soup is without it anyway.
        note = FormerTraining(
            training_key=did.former.key,
            is_known=did.is_known,
            records=did.records[:MOST_EXCLUDED],
            unlearning=Unlearning(
                requested_at=status.records_asked_at or timestamp(now), stage="Tombstoned"
            ),
        )
        fields = ("ingredient", "training_key", "data_digest", "records")
        # Shards that an older release trained have no such time yet.
        since = status.training.completed_at if status.training else None
        nothing: dict[str, Any] = {**dict.fromkeys(fields), "omissions": ()}
        return change_shard_status(
            shard,
            **(nothing | {"training": None} if did.is_known else {}),
            first_trained_at=status.first_trained_at or since,
            records_asked_at=None,
            found_records=None,
            left_out=tuple(sorted({*status.left_out, *did.records}))[:MOST_EXCLUDED],
            former=(*status.former, note),
        )

    return edit


def with_shard_report(report: ShardStatusReport, now: datetime) -> EditShard:
    """Write the derived status into a shard."""

    def edit(shard: DataShard) -> DataShard:
        status, generation = shard.status, shard.metadata.generation
        unlearning = status.unlearning
        if unlearning and report.stage:
            unlearning = unlearning.model_copy(update={"stage": report.stage})
        return change_shard_status(
            shard,
            observed_generation=generation,
            conditions=conditions(status.conditions, report.conditions, generation, now),
            state=report.state.value,
            training=_training_report(status.training, report),
            unlearning=unlearning,
        )

    return edit


def _training_report(
    before: ShardTraining | None, report: ShardStatusReport
) -> ShardTraining | None:
    if report.run is None:
        return before
    if before is None or before.run_name != report.run:
        before = ShardTraining(run_name=report.run)
    now = report.progress
    if now is None:
        return before
    far = {
        "phase": now.phase,
        "step": now.step,
        "total_steps": now.total_steps,
        # Only the phase of training counts: nothing is learnt before it.
        "progress_percent": 100 * now.step // now.total_steps
        if now.phase == "training" and now.total_steps
        else before.progress_percent,
        "last_loss": now.loss or before.last_loss,
    }
    return before.model_copy(update=far)
