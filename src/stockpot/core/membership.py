"""Which shards are in the soup now. Additions may be held back; a removal never is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from stockpot.api.conditions import Reason
from stockpot.core.blocker import Blocker
from stockpot.core.recipe import MAX_WEIGHT, Recipe, ShardUID, recipe_of
from stockpot.core.shard import Shard
from stockpot.core.soup import Soup
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.weighting import SoupMember, Uniform, UnusablePlugin, weigh
from stockpot.core.world import World


@dataclass(frozen=True)
class Admission:
    """Who is in, who waits and why."""

    members: tuple[Shard, ...] = ()
    waiting: frozenset[ShardUID] = frozenset()
    why: Blocker | None = None
    """Why those wait."""
    wake_at: datetime | None = None
    """When looking again would help, though nothing else happens."""


def membership(world: World, now: datetime) -> Admission:
    """Decide who is in the soup: what survives of it, and newcomers unless they are held back."""
    able = tuple(
        shard
        for shard in world.shards
        if shard.included
        and shard.usable_training
        and world.soup.base in {None, shard.usable_training.base}
        and not world.forgotten_by(shard)
    )
    promoted = world.serving_recipe or Recipe()
    newcomers = tuple(s for s in able if s.ingredient not in promoted.lineage)
    held = _held_back(world, able, newcomers, now) if newcomers else None
    if held is None:
        return Admission(able)
    why, wake_at = held
    waiting = frozenset(shard.uid for shard in newcomers)
    return Admission(tuple(s for s in able if s.uid not in waiting), waiting, why, wake_at)


def _held_back(
    world: World, able: tuple[Shard, ...], newcomers: tuple[Shard, ...], now: datetime
) -> tuple[Blocker, datetime | None] | None:
    soup = world.soup
    if soup.suspended:
        said = f"Soup {soup.name} is suspended"
        return Blocker(Reason.HELD_BY_SUSPEND, said, "set spec.suspend: false"), None
    if len(able) < soup.min_shards:
        said = f"{len(able)} of the {soup.min_shards} shards of membership.minShards are trained"
        return Blocker(Reason.HELD_BY_MIN_SHARDS, said, "add shards, or lower minShards"), None
    newest = max(shard.trained.at for shard in newcomers if shard.trained)
    settled_at = newest + timedelta(seconds=soup.settle_s)
    if now < settled_at:
        said = f"others may follow within membership.settleSeconds ({soup.settle_s} s)"
        return Blocker(Reason.HELD_BY_SETTLE, said, "wait"), settled_at
    return None


def wanted_recipe(world: World, members: tuple[Shard, ...]) -> Recipe | Blocker:
    """Say which recipe the soup should be made by.

    Where its weighting is unusable, or breaks on these members, additions wait; but a deletion does
    not: until somebody mends it, the survivors weigh the same each.
    """
    soup = world.soup
    if not soup.alive:
        said = f"Soup {soup.name} is being deleted"
        return Blocker(Reason.BEING_DELETED, said, "it goes when the last of its shards is deleted")
    recipe = _weighed(soup, members)
    if isinstance(recipe, Recipe):
        return recipe
    promoted = world.serving_recipe
    if promoted is None or world.is_clean(promoted.lineage):
        return Blocker(recipe.reason, recipe.message, recipe.help, needs_person=True)
    survivors = tuple(shard for shard in members if shard.ingredient in promoted.lineage)
    return _recipe(soup, survivors, Uniform().step(_told(survivors)))


def is_weightless(recipe: Recipe | Blocker, members: tuple[Shard, ...]) -> bool:
    """Whether the base is served because every member weighs 0."""
    return bool(members) and isinstance(recipe, Recipe) and recipe.is_base


def _weighed(soup: Soup, members: tuple[Shard, ...]) -> Recipe | UnusablePlugin:
    """Weigh the members by the soup's weighting; or say why that cannot be done."""
    if isinstance(soup.weighting, UnusablePlugin):
        return soup.weighting
    weights = weigh(soup.weighting_name, soup.weighting, _told(members))
    if isinstance(weights, UnusablePlugin):
        return weights
    recipe = _recipe(soup, members, weights)
    if any(part.weight > MAX_WEIGHT for part in recipe.parts):
        return UnusablePlugin(
            f"the weighting {soup.weighting_name} cannot be used: in whole numbers its weights are "
            f"larger than {MAX_WEIGHT}",
            "write the weights of the shards with fewer digits, or have the weighting round them",
            Reason.WEIGHTING_FAILED,
        )
    return recipe


def _told(members: tuple[Shard, ...]) -> tuple[SoupMember, ...]:
    """What a weighting is told of the members."""
    return tuple(
        SoupMember(shard.name, shard.weight, shard.trained.records if shard.trained else 0)
        for shard in members
    )


def _recipe(soup: Soup, members: tuple[Shard, ...], weights: tuple[Fraction, ...]) -> Recipe:
    return recipe_of(
        (
            (shard.ingredient, shard.trained.weights, weight)
            for shard, weight in zip(members, weights, strict=True)
            if shard.ingredient and shard.trained
        ),
        soup.output,
    )


def deadline(target: UnlearningTarget, soup: Soup) -> datetime | None:
    """Until when its unlearning waits for what does not answer. None: it is not tombstoned yet."""
    if target.requested_at is None:
        return None
    return target.requested_at + timedelta(seconds=soup.deadline_s)


def is_overdue(target: UnlearningTarget, soup: Soup, now: datetime) -> bool:
    """Whether its unlearning takes longer than it may."""
    until = deadline(target, soup)
    return until is not None and now >= until


def until_merged(
    world: World, survivors: Recipe | Blocker, overdue: frozenset[ShardUID]
) -> Recipe | Blocker:
    """Say what is to be served now: the base, where a deadline passed before the survivors' merge.

    It is that only while a shard which is overdue is served: nothing else is taken away by it.
    """
    promoted = world.serving_recipe
    if promoted is None or not world.soup.alive:
        return survivors
    served = {ingredient.shard for ingredient in promoted.lineage}
    is_made = isinstance(survivors, Recipe) and world.made(survivors)
    return survivors if is_made or not served & overdue else Recipe((), world.soup.output)
