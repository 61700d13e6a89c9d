"""Reads and writes SoupRevisions: recipes that were merged, and their figures."""

from collections.abc import Callable
from datetime import datetime

from stockpot.api.manifest import MergeWay
from stockpot.api.omissions import Omissions
from stockpot.api.training import WeightsDtype
from stockpot.api.v1alpha1 import (
    Figure,
    ObjectMeta,
    Quality,
    RevisionMerge,
    RevisionPart,
    Soup,
    SoupRevision,
    SoupRevisionSpec,
    SoupRevisionStatus,
    UidRef,
)
from stockpot.core.actions import RecordRevision
from stockpot.core.digests import Digest, short
from stockpot.core.recipe import Ingredient, Recipe, ShardUID, WeightedIngredient
from stockpot.core.revision import Revision
from stockpot.core.world import World
from stockpot.reconcile.objects.fields import timestamp


def revision_view(revision: SoupRevision) -> Revision:
    """Return a SoupRevision as the core's value."""
    spec = revision.spec
    parts = tuple(
        WeightedIngredient(
            Ingredient(ShardUID(part.shard.uid), Digest(part.training_key)),
            Digest(part.weights_digest),
            part.weight,
        )
        for part in spec.parts
    )
    return Revision(Recipe(parts, spec.output.value), Digest(spec.weights_digest))


def revision_name(soup: str, recipe: Digest) -> str:
    """Return the name of the SoupRevision of a recipe."""
    return f"{soup}-{short(recipe)}"


def new_revision(did: RecordRevision, soup: Soup, world: World, now: datetime) -> SoupRevision:
    """Build the SoupRevision of a recipe that was merged."""
    names = world.names
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
    """Record the figures of a revision, and which held-out data was omitted."""
    evaluation = tuple(Figure(metric=metric, value=value) for metric, value in figures)

    def edit(revision: SoupRevision) -> SoupRevision:
        changes = {"evaluation": evaluation, "evaluated_at": timestamp(now), "omissions": omissions}
        status = revision.status.model_copy(update=changes)
        return revision.model_copy(update={"status": status})

    return edit


def quality_of(current: SoupRevision | None, base: SoupRevision | None) -> tuple[Quality, ...]:
    """Return the current revision's figures beside those of the base."""
    if current is None:
        return ()
    baseline = {figure.metric: figure.value for figure in base.status.evaluation} if base else {}
    return tuple(
        Quality(metric=figure.metric, value=figure.value, baseline=baseline.get(figure.metric))
        for figure in current.status.evaluation
    )
