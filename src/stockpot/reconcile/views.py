"""From objects to the core's values. Pure, but for looking names up."""

from datetime import datetime
from fractions import Fraction

from stockpot.api.serving import Granted, ServerState
from stockpot.api.training import Training
from stockpot.api.v1alpha1 import (
    FINALIZER,
    DataShard,
    Inclusion,
    Soup,
    SoupRevision,
)
from stockpot.core import world as core
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.recipe import Ingredient, Part, Recipe, ShardUID
from stockpot.core.training_key import BYTE_FIELDS
from stockpot.core.weighting import Unusable
from stockpot.reconcile.extensions import known_methods, resolve_weighting
from stockpot.reconcile.ports import Asked, Seen


def instant(text: str) -> datetime:
    """Read a time as the API writes it."""
    return datetime.fromisoformat(text)


def world_of(
    soup: Soup,
    seen: Seen,
    runs: tuple[core.Run, ...],
    asked: Asked,
) -> core.World:
    """Put one soup with all of its shards, runs and servers together."""
    shards = (shard_view(shard, soup) for shard in seen.shards)
    return core.World(
        soup=soup_view(soup, seen.revisions),
        # What has no finalizer and is going is not ours to forget: it left no trace.
        shards=tuple(shard for shard in shards if shard.held or shard.alive),
        runs=runs,
        servers=asked.servers,
        replicas=asked.replicas,
        is_as_told=asked.is_as_told,
        hindrance=asked.hindrance,
        receipted=frozenset(ShardUID(one.spec.shard.uid) for one in seen.receipts),
    )


def request_of(shard: DataShard, soup: Soup) -> Digest:
    """Name what is asked for when this shard is to be trained."""
    spec = shard.spec
    fields = soup.spec.training.model_dump(mode="json", by_alias=True, include=set(BYTE_FIELDS))
    return digest_of_json(
        "training-request/1",
        {
            "base": soup.spec.base.model_dump(mode="json", exclude_none=True),
            "source": spec.source.model_dump(mode="json", exclude_none=True),
            "digest": spec.digest,
            "training": fields,
        },
    )


def shard_view(shard: DataShard, soup: Soup) -> core.Shard:
    """See a DataShard as the core does."""
    meta, spec, status = shard.metadata, shard.spec, shard.status
    asked = status.unlearning.requested_at if status.unlearning else None
    return core.Shard(
        uid=ShardUID(meta.uid),
        name=meta.name,
        request=request_of(shard, soup),
        weight=Fraction(spec.weight),
        included=spec.inclusion is Inclusion.INCLUDED,
        alive=meta.deletion_timestamp is None,
        held=FINALIZER in meta.finalizers,
        requested_at=instant(asked) if asked else None,
        trained=_trained(shard),
    )


def _trained(shard: DataShard) -> core.Trained | None:
    status = shard.status
    done = status.training.completed_at if status.training else None
    if not (status.ingredient and status.training_key and done):
        return None
    return core.Trained(
        key=Digest(status.training_key),
        weights=Digest(status.ingredient.digest),
        at=instant(done),
        base=Digest(status.base_digest or ""),
        data=Digest(status.data_digest or ""),
        records=status.records or 0,
    )


def revision_view(revision: SoupRevision) -> core.Revision:
    """See a SoupRevision as the core does."""
    spec = revision.spec
    parts = tuple(
        Part(
            Ingredient(ShardUID(part.shard.uid), Digest(part.training_key)),
            Digest(part.weights_digest),
            part.weight,
        )
        for part in spec.parts
    )
    return core.Revision(Recipe(parts, spec.output.value), Digest(spec.weights_digest))


def soup_view(soup: Soup, revisions: tuple[SoupRevision, ...]) -> core.Soup:
    """See a Soup as the core does."""
    spec, status = soup.spec, soup.status
    made = {one.metadata.name: revision_view(one) for one in revisions}
    current = status.current_revision
    promotion = None
    if current and current.name in made:
        promotion = core.Promotion(made[current.name], core.Epoch(current.epoch), current.number)
    return core.Soup(
        uid=core.SoupUID(soup.metadata.uid),
        name=soup.metadata.name,
        alive=soup.metadata.deletion_timestamp is None,
        held=FINALIZER in soup.metadata.finalizers,
        receipts=status.receipts.count,
        suspended=spec.suspend,
        min_shards=spec.membership.min_shards,
        settle_s=spec.membership.settle_seconds,
        parallelism=spec.training.parallelism,
        max_attempts=spec.training.max_attempts,
        output=spec.merge.output.value,
        weighting=resolve_weighting(spec.merge.weighting),
        unknown=_unknown(spec.training),
        evaluates=bool(spec.evaluation.suite),
        replicas=spec.serving.replicas,
        base=Digest(status.base_digest) if status.base_digest else None,
        current=promotion,
        promotions=status.promotions,
        made=tuple(made.values()),
        evaluated=frozenset(
            Digest(one.spec.recipe_digest) for one in revisions if one.status.evaluation
        ),
    )


def _unknown(training: Training) -> Unusable | None:
    known = known_methods()
    if training.method.name in known:
        return None
    said = f"no training method is called {training.method.name}"
    return Unusable(said, f"use one of {', '.join(sorted(known))}")


def server_view(name: str, state: ServerState) -> core.Server:
    """See what a server said as the core does."""

    def recipe(granted: Granted | None) -> Digest | None:
        return Digest(granted.revision.recipe_digest) if granted else None

    return core.Server(
        name=name,
        boot=state.boot,
        ready=state.ready,
        epoch=core.Epoch(state.epoch),
        granted=recipe(state.granted),
        prepared=recipe(state.prepared),
        serving=recipe(state.serving),
        holds=frozenset(
            core.Held(
                Digest(one.recipe_digest),
                frozenset(
                    Ingredient(ShardUID(p.shard), Digest(p.training_key)) for p in one.lineage
                ),
            )
            for one in state.holds
        ),
        problem=state.problem,
    )
