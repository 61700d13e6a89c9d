"""Which shards are in the soup now. Additions may be held back; removals never are."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from stockpot.api.conditions import Reason
from stockpot.core.blocker import Blocker
from stockpot.core.overlaps import may_join
from stockpot.core.recipe import MAX_WEIGHT, Recipe, ShardUID, recipe_of
from stockpot.core.shard import Shard
from stockpot.core.soup import Soup
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.weighting import SoupMember, Uniform, UnusablePlugin, weigh
from stockpot.core.world import World


@dataclass(frozen=True)
class Admission:
    """Which shards are in the soup, which wait, and why."""

    members: tuple[Shard, ...] = ()
    waiting: frozenset[ShardUID] = frozenset()
    why: Blocker | None = None
    """Why they wait."""
    wake_at: datetime | None = None
    """Time of the next round, where time alone changes the answer."""


def admit(world: World, now: datetime) -> Admission:
    """Decide which shards are in the soup: those in it that live, and newcomers not held back."""
    able = tuple(
        shard
        for shard in world.shards
        if shard.included
        and shard.usable_training
        and world.soup.base in {None, shard.usable_training.base}
        and not world.forgotten_by(shard)
        and may_join(shard, world)
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
    if soup.holds_additions:
        return additions_held(soup), None
    if len(able) < soup.min_shards:
        message = f"{len(able)} shards are trained; membership.minShards is {soup.min_shards}"
        help_text = "add shards, or lower membership.minShards"
        return Blocker(Reason.HELD_BY_MIN_SHARDS, message, help_text), None
    newest = max(shard.trained.at for shard in newcomers if shard.trained)
    settled_at = newest + timedelta(seconds=soup.settle_s)
    if now < settled_at:
        message = f"more shards may follow within membership.settleSeconds ({soup.settle_s} s)"
        return Blocker(Reason.HELD_BY_SETTLE, message, "wait"), settled_at
    return None


def additions_held(soup: Soup) -> Blocker:
    """Return why a soup trains and includes nothing new."""
    if soup.is_ending:
        message = f"Soup {soup.name} is being deleted"
        return Blocker(Reason.BEING_DELETED, message, "delete the shard, or apply another Soup")
    message = f"Soup {soup.name} is suspended"
    return Blocker(Reason.HELD_BY_SUSPEND, message, "set spec.suspend: false")


def wanted_recipe(world: World, members: tuple[Shard, ...]) -> Recipe | Blocker:
    """Return the recipe that the soup should be merged from, or why there is none.

    Where its weighting is unusable, or fails on these members, additions wait but deletions do not:
    until the weighting is repaired, the remaining members get equal weights.
    """
    soup = world.soup
    if not soup.alive:
        message = f"Soup {soup.name} is being deleted"
        help_text = "delete its DataShards: the Soup is removed after the last one is unlearned"
        return Blocker(Reason.BEING_DELETED, message, help_text)
    recipe = _weighed(soup, members)
    if isinstance(recipe, Recipe):
        return recipe
    promoted = world.serving_recipe
    if promoted is None or world.is_clean(promoted.lineage):
        return Blocker(recipe.reason, recipe.message, recipe.help, needs_person=True)
    survivors = tuple(shard for shard in members if shard.ingredient in promoted.lineage)
    return _recipe(soup, survivors, Uniform().step(_members_for_weighting(survivors)))


def is_weightless(recipe: Recipe | Blocker, members: tuple[Shard, ...]) -> bool:
    """Whether the base is served because every member weighs 0."""
    return bool(members) and isinstance(recipe, Recipe) and recipe.is_base


def _weighed(soup: Soup, members: tuple[Shard, ...]) -> Recipe | UnusablePlugin:
    """Weigh the members by the soup's weighting, or return why that is impossible."""
    if isinstance(soup.weighting, UnusablePlugin):
        return soup.weighting
    weights = weigh(soup.weighting_name, soup.weighting, _members_for_weighting(members))
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


def _members_for_weighting(members: tuple[Shard, ...]) -> tuple[SoupMember, ...]:
    """Return the members as a weighting sees them."""
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
    """Return until when the unlearning waits for servers and runs that do not answer.

    None where the target is not tombstoned yet.
    """
    if target.requested_at is None:
        return None
    return target.requested_at + timedelta(seconds=soup.deadline_s)


def is_overdue(target: UnlearningTarget, soup: Soup, now: datetime) -> bool:
    """Whether the unlearning takes longer than `unlearning.deadlineSeconds`."""
    until = deadline(target, soup)
    return until is not None and now >= until


def until_merged(
    world: World, survivors: Recipe | Blocker, overdue: frozenset[ShardUID]
) -> Recipe | Blocker:
    """Return what is to be served now: the base, where a deadline passed before the merge.

    That is so only while an overdue target is served: no other shard is removed by it.
    """
    promoted = world.serving_recipe
    if promoted is None or not world.soup.alive:
        return survivors
    served = {ingredient.shard for ingredient in promoted.lineage}
    is_made = isinstance(survivors, Recipe) and world.made(survivors)
    return survivors if is_made or not served & overdue else Recipe((), world.soup.output)
