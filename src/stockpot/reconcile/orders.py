"""From an action to what the workload is told. Pure: the same objects, the same RunSpec."""

from collections.abc import Sequence
from typing import assert_never

from stockpot.api.chain import ChainHead
from stockpot.api.manifest import LineagePair
from stockpot.api.runspec import (
    BaseRef,
    EndedReport,
    EvaluateRun,
    HeldReport,
    MergeRun,
    ObjectRef,
    PurgeRun,
    ReceiptRequest,
    RecipePart,
    RevisionRef,
    RunSpec,
    ServeRun,
    SignRun,
    TrainRun,
)
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.core.actions import (
    DueReceipt,
    Start,
    StartEvaluation,
    StartMerge,
    StartPurge,
    StartRescan,
    StartSigning,
    StartTraining,
    run_name,
)
from stockpot.core.recipe import Lineage
from stockpot.core.revision import Promotion, Revision
from stockpot.core.servers import Server
from stockpot.core.world import World
from stockpot.reconcile.objects.fields import instant
from stockpot.reconcile.objects.target_details import TargetDetails, gone_shard, kept_trainings
from stockpot.reconcile.ports import Environment, ObservedObjects


def run_spec(
    start: Start, soup: Soup, seen: ObservedObjects, world: World, around: Environment
) -> RunSpec:
    """Say what a run is told."""
    name, store, ref = run_name(start), around.store, soup_ref(soup)
    match start:
        case StartTraining():
            shard = next(one for one in seen.shards if one.metadata.uid == start.shard)
            return TrainRun(
                name=name,
                store=store,
                soup=ref,
                shard=shard_ref(shard),
                request=start.request,
                base=base_ref(soup, around),
                source=around.locate(shard.spec.source),
                data_digest=shard.spec.digest,
                exclude_records=tuple(sorted(set(shard.spec.exclude_records))),
                training=soup.spec.training,
            )
        case StartMerge():
            return MergeRun(
                name=name,
                store=store,
                soup=ref,
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
                output=soup.spec.merge.output,
                base=base_ref(soup, around),
            )
        case StartEvaluation():
            held_out = soup.spec.evaluation.source
            return EvaluateRun(
                name=name,
                store=store,
                soup=ref,
                revision=revision_ref(start.revision),
                base=base_ref(soup, around),
                held_out=around.locate(held_out) if held_out else None,
                suite=soup.spec.evaluation.suite,
                resolution=soup.spec.training.resolution,
            )
        case StartPurge():
            gone = gone_shard(start.shard, soup, seen, world)
            return PurgeRun(name=name, store=store, soup=ref, shard=gone.ref, former=gone.former)
        case StartRescan():
            recorded = ranges_of(start.recorded)
            return PurgeRun(
                name=name,
                store=store,
                soup=ref,
                forgotten=start.forgotten,
                kept=kept_trainings(soup, seen),
                recorded_receipts=recorded,
            )
        case StartSigning():
            return sign_run(start, soup, seen, world, around)
        case never:
            assert_never(never)


def sign_run(
    start: StartSigning, soup: Soup, seen: ObservedObjects, world: World, around: Environment
) -> SignRun:
    """Say what the receipts are to state: what was seen in this round, after the purges."""
    recorded = soup.status.receipts
    # Of a soup that is being deleted nothing serves any more.
    current = world.soup.current if world.soup.alive else None
    last_receipts = {target.uid: target.last_receipt for target in world.targets}
    receipts = tuple(
        _receipt_request(
            due, gone_shard(due.shard, soup, seen, world), last_receipts.get(due.shard, 0)
        )
        for due in start.receipts
    )
    return SignRun(
        name=run_name(start),
        store=around.store,
        soup=soup_ref(soup),
        receipts=receipts,
        successor=revision_ref(current.revision) if current else None,
        servers=tuple(held_report(server, current) for server in world.servers if server.answers),
        ended=ended_reports(soup, world, min(request.requested_at for request in receipts)),
        chain=ChainHead(sequence=recorded.count, digest=recorded.head, receipt=recorded.count)
        if recorded.head
        else None,
        signing_key=around.signing_key,
    )


def _receipt_request(due: DueReceipt, gone: TargetDetails, last_receipt: int) -> ReceiptRequest:
    return ReceiptRequest(
        is_only_looked_for=due.is_only_looked_for,
        shard=gone.ref,
        data_digest=gone.data_digest,
        training_keys=gone.training_keys,
        former=gone.former,
        requested_at=gone.requested_at,
        missing=due.missing,
        finalizer_removed=gone.is_lost and not gone.is_forced,
        after=last_receipt,
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


def serve_run(soup: Soup, around: Environment) -> ServeRun:
    """Say what a server is told; its ports are its surroundings' matter."""
    return ServeRun(
        name=f"serve-{soup.metadata.name}",
        store=around.store,
        soup=soup_ref(soup),
        base=base_ref(soup, around),
        resolution=soup.spec.training.resolution,
        drain_s=soup.spec.unlearning.drain_seconds,
    )


def soup_ref(soup: Soup) -> ObjectRef:
    """Name a soup to a run."""
    meta = soup.metadata
    return ObjectRef(namespace=meta.namespace, name=meta.name, uid=meta.uid)


def shard_ref(shard: DataShard) -> ObjectRef:
    """Name a shard to a run."""
    meta = shard.metadata
    return ObjectRef(namespace=meta.namespace, name=meta.name, uid=meta.uid)


def base_ref(soup: Soup, around: Environment) -> BaseRef:
    """Say which base: the declared digest, or the one recorded at first use."""
    digest = soup.spec.base.digest or soup.status.base_digest
    return BaseRef(location=around.locate(soup.spec.base), digest=digest)


def lineage_pairs(lineage: Lineage) -> tuple[LineagePair, ...]:
    """Write a lineage as runs and servers are told it."""
    return tuple(LineagePair(shard=one.shard, training_key=one.key) for one in sorted(lineage))


def revision_ref(revision: Revision) -> RevisionRef:
    """Name a revision to a run or a server."""
    return RevisionRef(
        recipe_digest=revision.recipe.digest,
        weights_digest=revision.weights,
        lineage=lineage_pairs(revision.lineage),
    )


def ended_reports(soup: Soup, world: World, requested_at: str) -> tuple[EndedReport, ...]:
    """Write down which servers have ended since something was to be unlearned, and how."""
    serving = soup.status.serving
    noted = (
        EndedReport(server=one.name, uid=one.uid, node=one.node, how=one.how, seen_at=one.seen_at)
        for one in serving.ended
        if not requested_at or instant(one.seen_at) >= instant(requested_at)
    )
    just_now = (
        EndedReport(server=one.name, uid=one.uid, node=one.node, how=world.endings[one.uid])
        for one in serving.granted
        if one.uid in world.endings
    )
    return (*noted, *just_now)


def held_report(server: Server, current: Promotion | None) -> HeldReport:
    """Write down what a server said that it holds, beside what is to be served."""
    served = current.revision.recipe.digest if current else None
    beside = frozenset(o for hold in server.holds if hold.recipe != served for o in hold.lineage)
    return HeldReport(
        server=server.name,
        uid=server.uid,
        node=server.node,
        nonce=server.nonce,
        boot=server.boot,
        epoch=server.epoch,
        holds=tuple(sorted(hold.recipe for hold in server.holds)),
        beside=lineage_pairs(beside),
    )
