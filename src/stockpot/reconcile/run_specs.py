"""RunSpecs of the runs that a plan starts. Pure: the same objects make the same RunSpec."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stockpot.api.chain import ChainHead
from stockpot.api.manifest import LineagePair
from stockpot.api.runspec import (
    BaseRef,
    CompareRun,
    EvaluateRun,
    FindRun,
    LeavingRecords,
    MergeRun,
    ObjectRef,
    PurgeRun,
    ReceiptRequest,
    RecipePart,
    RevisionRef,
    RunSpec,
    ServeRun,
    SignRun,
    SurvivingRecords,
    TrainRun,
)
from stockpot.api.server_reports import EndedReport, HeldReport
from stockpot.api.serving import Grant
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.core.overlaps import overlaps_of
from stockpot.core.recipe import Lineage, ShardUID, shard_of
from stockpot.core.revision import Promotion, Revision
from stockpot.core.run_starts import (
    DueReceipt,
    Start,
    StartCompare,
    StartEvaluation,
    StartFind,
    StartMerge,
    StartPurge,
    StartRescan,
    StartSigning,
    StartTraining,
    run_name,
)
from stockpot.core.servers import Server
from stockpot.core.world import World
from stockpot.reconcile.objects.fields import instant
from stockpot.reconcile.objects.target_details import TargetDetails, gone_shard, kept_trainings
from stockpot.reconcile.ports import Environment, ObservedObjects


@dataclass(frozen=True)
class RunInputs:
    """What a RunSpec is made from."""

    soup: Soup
    objects: ObservedObjects
    world: World
    environment: Environment

    def common_fields(self, start: Start) -> dict[str, Any]:
        """Return the fields that every RunSpec has."""
        return {
            "name": run_name(start),
            "store": self.environment.store,
            "soup": soup_ref(self.soup),
        }


def run_spec(start: Start, inputs: RunInputs) -> RunSpec:
    """Make the RunSpec of a run.

    Raises:
        Refused: A source is in a place that is not known here.
    """
    return BUILDERS[type(start)](start, inputs)


def _train_run(start: StartTraining, inputs: RunInputs) -> TrainRun:
    soup, environment = inputs.soup, inputs.environment
    shard = next(shard for shard in inputs.objects.shards if shard.metadata.uid == start.shard)
    return TrainRun(
        **inputs.common_fields(start),
        namespace=inputs.environment.namespace(),
        shard=shard_ref(shard),
        request=start.request,
        base=base_ref(soup, environment),
        source=environment.locate(shard.spec.source),
        data_digest=shard.spec.digest,
        exclude_records=tuple(sorted(set(shard.spec.exclude_records))),
        gone_records=tuple(sorted({*shard.spec.exclude_records} & {*shard.status.left_out})),
        training=soup.spec.training,
    )


def _merge_run(start: StartMerge, inputs: RunInputs) -> MergeRun:
    return MergeRun(
        **inputs.common_fields(start),
        namespace=inputs.environment.namespace(),
        recipe_digest=start.recipe.digest,
        parts=tuple(
            RecipePart(
                shard_uid=part.ingredient.shard,
                training_key=part.ingredient.key,
                weights_digest=part.weights,
                weight=part.weight,
            )
            for part in start.recipe.parts
        ),
        output=inputs.soup.spec.merge.output,
        base=base_ref(inputs.soup, inputs.environment),
    )


def _evaluate_run(start: StartEvaluation, inputs: RunInputs) -> EvaluateRun:
    spec, environment = inputs.soup.spec, inputs.environment
    held_out = spec.evaluation.source
    return EvaluateRun(
        **inputs.common_fields(start),
        namespace=inputs.environment.namespace(),
        revision=revision_ref(start.revision),
        base=base_ref(inputs.soup, environment),
        held_out=environment.locate(held_out) if held_out else None,
        suite=spec.evaluation.suite,
        resolution=spec.training.resolution,
    )


def _purge_run(start: StartPurge, inputs: RunInputs) -> PurgeRun:
    target = gone_shard(start.shard, inputs.soup, inputs.objects, inputs.world)
    return PurgeRun(**inputs.common_fields(start), shard=target.ref, former=target.former)


def _rescan_run(start: StartRescan, inputs: RunInputs) -> PurgeRun:
    return PurgeRun(
        **inputs.common_fields(start),
        forgotten=start.forgotten,
        kept=kept_trainings(inputs.soup, inputs.objects),
        recorded_receipts=ranges_of(start.recorded),
    )


def _sign_run(start: StartSigning, inputs: RunInputs) -> SignRun:
    """State what this round observed, which is later than the purges."""
    soup, world = inputs.soup, inputs.world
    recorded = soup.status.receipts
    # No revision of a soup that is being deleted is served any more.
    current = world.soup.current if world.soup.alive else None
    last_receipts = {target.uid: target.last_receipt for target in world.targets}
    receipts = tuple(
        _receipt_request(
            due,
            gone_shard(due.shard, soup, inputs.objects, world),
            last_receipts.get(due.shard, 0),
            world,
        )
        for due in start.receipts
    )
    return SignRun(
        **inputs.common_fields(start),
        receipts=receipts,
        successor=revision_ref(current.revision) if current else None,
        servers=tuple(held_report(server, current) for server in world.servers if server.answers),
        ended=ended_reports(soup, world, min(request.requested_at for request in receipts)),
        chain=ChainHead(sequence=recorded.count, digest=recorded.head, receipt=recorded.count)
        if recorded.head
        else None,
        signing_key=inputs.environment.signing_key,
    )


def _find_run(start: StartFind, inputs: RunInputs) -> FindRun:
    view = next(shard for shard in inputs.world.shards if shard.uid == start.shard)
    shard = next(shard for shard in inputs.objects.shards if shard.metadata.uid == start.shard)
    return FindRun(
        **inputs.common_fields(start),
        shard=shard_ref(shard),
        training_key=view.trained.key if view.trained else "",
        names=tuple(sorted(view.leaving_records)),
    )


def _compare_run(start: StartCompare, inputs: RunInputs) -> CompareRun:
    own = start.ingredient
    shard = next(shard for shard in inputs.objects.shards if shard.metadata.uid == own.shard)
    others = frozenset(
        view.ingredient
        for view in inputs.world.shards
        if view.ingredient and view.ingredient != own
    )
    return CompareRun(
        **inputs.common_fields(start),
        shard=shard_ref(shard),
        training_key=own.key,
        others=lineage_pairs(others),
        leaving=tuple(_leaving_records(inputs)),
    )


def _leaving_records(inputs: RunInputs) -> Iterator[LeavingRecords]:
    """Yield what is being unlearned: no list may be kept of it yet."""
    for target in inputs.world.targets:
        former = None
        if target.past_training:
            former = gone_shard(target.uid, inputs.soup, inputs.objects, inputs.world).former
        yield LeavingRecords(
            unlearned=target.uid,
            shard=shard_of(target.uid),
            names=former.records if former else (),
        )


BUILDERS: Mapping[type[Start], Callable[[Any, RunInputs], RunSpec]] = {
    StartTraining: _train_run,
    StartMerge: _merge_run,
    StartEvaluation: _evaluate_run,
    StartPurge: _purge_run,
    StartRescan: _rescan_run,
    StartSigning: _sign_run,
    StartFind: _find_run,
    StartCompare: _compare_run,
}


def _receipt_request(
    due: DueReceipt, gone: TargetDetails, last_receipt: int, world: World
) -> ReceiptRequest:
    return ReceiptRequest(
        is_only_looked_for=due.is_only_looked_for,
        shard=gone.ref,
        data_digest=gone.data_digest,
        training_keys=gone.training_keys,
        former=gone.former,
        requested_at=gone.requested_at,
        missing=due.missing,
        survives_in=surviving_records(due.shard, world),
        finalizer_removed=gone.is_lost and not gone.is_forced,
        after=last_receipt,
    )


def surviving_records(uid: ShardUID, world: World) -> tuple[SurvivingRecords, ...]:
    """List the living shards that have records of a shard which is being unlearned."""
    overlaps = overlaps_of(uid, world)
    return tuple(
        SurvivingRecords(shard=other, name=world.names.get(other, ""), records=overlaps[other])
        for other in sorted(overlaps)
    )


def ranges_of(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Write ascending numbers as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def serve_run(soup: Soup, environment: Environment) -> ServeRun:
    """Make the RunSpec of a server, without ports: the cluster or local mode chooses them."""
    return ServeRun(
        name=f"serve-{soup.metadata.name}",
        store=environment.store,
        soup=soup_ref(soup),
        base=base_ref(soup, environment),
        resolution=soup.spec.training.resolution,
        drain_s=soup.spec.unlearning.drain_seconds,
        grant_keys=environment.grant_keys,
    )


def soup_ref(soup: Soup) -> ObjectRef:
    """Return the reference to a soup in a RunSpec."""
    meta = soup.metadata
    return ObjectRef(namespace=meta.namespace, name=meta.name, uid=meta.uid)


def shard_ref(shard: DataShard) -> ObjectRef:
    """Return the reference to a shard in a RunSpec."""
    meta = shard.metadata
    return ObjectRef(namespace=meta.namespace, name=meta.name, uid=meta.uid)


def base_ref(soup: Soup, environment: Environment) -> BaseRef:
    """Return the base with its declared digest, or else the one recorded at first use."""
    digest = soup.spec.base.digest or soup.status.base_digest
    base = soup.spec.base
    return BaseRef(location=environment.locate(base), digest=digest, variant=base.variant)


def lineage_pairs(lineage: Lineage) -> tuple[LineagePair, ...]:
    """Write a lineage as RunSpecs and grants have it."""
    return tuple(LineagePair(shard=pair.shard, training_key=pair.key) for pair in sorted(lineage))


def revision_ref(revision: Revision) -> RevisionRef:
    """Return the reference to a revision in a RunSpec or grant."""
    return RevisionRef(
        recipe_digest=revision.recipe.digest,
        weights_digest=revision.weights,
        lineage=lineage_pairs(revision.lineage),
    )


def server_grant(instance_id: str, promotion: Promotion) -> Grant:
    """Grant a promoted revision to one instance of a server."""
    return Grant(
        instance_id=instance_id,
        epoch=promotion.epoch,
        number=promotion.number,
        revision=revision_ref(promotion.revision),
    )


def ended_reports(soup: Soup, world: World, requested_at: str) -> tuple[EndedReport, ...]:
    """List the servers that ended after an unlearning was requested, and how each end is known."""
    serving = soup.status.serving
    noted = (
        EndedReport(
            server=ended.name, uid=ended.uid, node=ended.node, how=ended.how, seen_at=ended.seen_at
        )
        for ended in serving.ended
        if not requested_at or instant(ended.seen_at) >= instant(requested_at)
    )
    just_now = (
        EndedReport(
            server=granted.name, uid=granted.uid, node=granted.node, how=world.endings[granted.uid]
        )
        for granted in serving.granted
        if granted.uid in world.endings
    )
    return (*noted, *just_now)


def held_report(server: Server, current: Promotion | None) -> HeldReport:
    """Report what a server says that it holds, and the lineage beside the current revision."""
    served = current.revision.recipe.digest if current else None
    beside = frozenset(
        pair for hold in server.holds if hold.recipe != served for pair in hold.lineage
    )
    return HeldReport(
        server=server.name,
        uid=server.uid,
        node=server.node,
        nonce=server.nonce,
        instance_id=server.instance_id,
        epoch=server.epoch,
        holds=tuple(sorted(hold.recipe for hold in server.holds)),
        beside=lineage_pairs(beside),
    )
