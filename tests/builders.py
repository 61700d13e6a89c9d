"""Builders of worlds for specifications; what a test does not set has its usual value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction

from stockpot.api.results import RESULTS, RunResult, SignedReceipt
from stockpot.api.run_kinds import RunKind
from stockpot.core.actions import Action
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.core.plan import check, plan
from stockpot.core.recipe import Ingredient, Recipe, ShardUID, recipe_of
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.revision import Epoch, Promotion, Revision
from stockpot.core.run_starts import DueReceipt, Start, StartSigning, run_name
from stockpot.core.runs import Failure, Run, RunName
from stockpot.core.servers import HeldRevision, Server, ServerGrant
from stockpot.core.shard import Comparison, Shard, TrainingOutcome
from stockpot.core.soup import Soup, SoupUID
from stockpot.core.unlearning_target import (
    LostObject,
    Owner,
    ShardObject,
    UnlearningTarget,
)
from stockpot.core.weighting import Declared
from stockpot.core.world import World

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC)
BASE = digest_of_bytes(b"base")


def uid(name: str) -> ShardUID:
    """The UID of the shard of that name."""
    return ShardUID(f"{name}-uid-0000")


def key(name: str) -> Digest:
    """Its training key."""
    return digest_of_bytes(f"key of {name}".encode())


def weights(name: str) -> Digest:
    """The digest of its ingredient's file."""
    return digest_of_bytes(f"weights of {name}".encode())


def a_recipe(*names: str) -> Recipe:
    """A recipe of these shards with equal weights."""
    parts = ((Ingredient(uid(n), key(n)), weights(n), Fraction(1)) for n in names)
    return recipe_of(parts, "fp16")


def a_revision(*names: str) -> Revision:
    """The revision that the recipe of these shards was merged to."""
    recipe = a_recipe(*names)
    return Revision(recipe, digest_of_bytes(f"merged {recipe.digest}".encode()))


@dataclass(frozen=True)
class ShardBuilder:
    """A shard that lives, is held, and is not trained."""

    shard: Shard

    def trained(self, at: datetime = LONG_AGO) -> "ShardBuilder":
        """With its ingredient."""
        name = self.shard.name
        trained = TrainingOutcome(
            key(name), weights(name), at, BASE, digest_of_bytes(name.encode()), 100
        )
        return ShardBuilder(replace(self.shard, trained=trained, comparison=Comparison(100)))

    def weighing(self, weight: str) -> "ShardBuilder":
        """With another weight than 1."""
        return ShardBuilder(replace(self.shard, weight=Fraction(weight)))

    def set_aside(self) -> "ShardBuilder":
        """With inclusion: Excluded."""
        return ShardBuilder(replace(self.shard, included=False))

    def not_held(self) -> "ShardBuilder":
        """Without our finalizer."""
        return ShardBuilder(replace(self.shard, held=False))

    def deleted(self) -> "TargetBuilder":
        """Being deleted; the deletion is not recorded yet."""
        return self._target(ShardObject(self.shard, is_deleted=True), None)

    def tombstoned(self, at: datetime = NOON) -> "TargetBuilder":
        """Being deleted; the deletion is recorded."""
        return self._target(ShardObject(self.shard, is_deleted=True), at)

    def expired(self, at: datetime | None = NOON) -> "TargetBuilder":
        """Expired; its object stays. None: that is not recorded yet."""
        return self._target(ShardObject(self.shard), at)

    def lost(self, at: datetime | None = NOON) -> "TargetBuilder":
        """Its object went before it was unlearned. None: that is not recorded yet."""
        return self._target(LostObject(), at)

    def _target(self, owner: Owner, requested_at: datetime | None) -> "TargetBuilder":
        return TargetBuilder(
            UnlearningTarget(self.shard.uid, self.shard.name, owner, requested_at=requested_at)
        )

    def with_fields(self, **fields: object) -> "ShardBuilder":
        """With other fields."""
        return ShardBuilder(replace(self.shard, **fields))  # type: ignore[arg-type]


@dataclass(frozen=True)
class TargetBuilder:
    """What is to be unlearned."""

    target: UnlearningTarget

    def forced(self, *, is_recorded: bool = False) -> "TargetBuilder":
        """With the annotation that lets its object go before the end."""
        owner = self.target.owner
        if isinstance(owner, ShardObject):
            owner = replace(owner, is_recorded=is_recorded)
        return TargetBuilder(replace(self.target, is_forced=True, owner=owner))

    def with_fields(self, **fields: object) -> "TargetBuilder":
        """With other fields of the target."""
        return TargetBuilder(replace(self.target, **fields))  # type: ignore[arg-type]


def a_shard(name: str) -> ShardBuilder:
    """A shard that lives, is held, and is not trained."""
    request = digest_of_bytes(f"request of {name}".encode())
    return ShardBuilder(Shard(uid(name), name, request, held=True))


@dataclass(frozen=True)
class SoupBuilder:
    """A soup that serves nothing yet."""

    soup: Soup

    def of(self, *names: str, epoch: int = 1) -> "SoupBuilder":
        """With a promoted revision of these shards, all trained; without names, the base."""
        promotion = Promotion(a_revision(*names), Epoch(epoch), 1 if names else 0)
        made = {*self.soup.made, promotion.revision}
        return SoupBuilder(
            replace(
                self.soup,
                current=promotion,
                promotions=max(self.soup.promotions, promotion.number),
                made=tuple(sorted(made, key=lambda revision: revision.recipe.digest)),
            )
        )

    def having_made(self, *names: str) -> "SoupBuilder":
        """With the revision of these from before."""
        return SoupBuilder(replace(self.soup, made=(*self.soup.made, a_revision(*names))))

    def with_fields(self, **fields: object) -> "SoupBuilder":
        """With other settings."""
        return SoupBuilder(replace(self.soup, **fields))  # type: ignore[arg-type]


def a_soup(name: str = "pets") -> SoupBuilder:
    """A soup that serves nothing yet, without servers."""
    soup = Soup(
        SoupUID("soup-uid"),
        name,
        weighting=Declared(),
        weighting_name="Declared",
        base=BASE,
        replicas=0,
    )
    return SoupBuilder(soup)


@dataclass(frozen=True)
class ServerBuilder:
    """A server that answers and holds nothing."""

    server: Server

    def of(self, *names: str, epoch: int = 1) -> "ServerBuilder":
        """Serving that revision, and holding it alone."""
        recipe = a_recipe(*names)
        held = frozenset({HeldRevision(recipe.digest, recipe.lineage)})
        return ServerBuilder(
            replace(
                self.server,
                ready=True,
                epoch=Epoch(epoch),
                granted=recipe.digest,
                serving=recipe.digest,
                holds=self.server.holds | held,
            )
        )

    def prepared(self, *names: str, epoch: int) -> "ServerBuilder":
        """Holding that revision beside what it serves."""
        recipe = a_recipe(*names)
        held = frozenset({HeldRevision(recipe.digest, recipe.lineage)})
        return ServerBuilder(
            replace(
                self.server,
                epoch=Epoch(epoch),
                granted=recipe.digest,
                prepared=recipe.digest,
                holds=self.server.holds | held,
            )
        )

    def silent(self) -> "ServerBuilder":
        """Not answering."""
        return ServerBuilder(replace(Server(self.server.name, self.server.uid), answers=False))


def a_server(name: str = "pets-1") -> ServerBuilder:
    """A server that answers and holds nothing."""
    return ServerBuilder(Server(name, f"uid of {name}", instance_id=f"boot of {name}"))


def a_run(start: Start) -> Run:
    """A run that is under way."""
    return Run(run_name(start), start.kind, start.lineage, about=start.about)


def ended(start: Start, **result: object) -> Run:
    """A run that ended with a result."""
    return replace(a_run(start), result=a_result(start.kind, **result))


RESULT_FIELDS: Mapping[RunKind, Mapping[str, object]] = {
    RunKind.TRAIN: {
        "base_digest": BASE,
        "data_digest": digest_of_bytes(b"data"),
        "records": 1,
        "training_key": digest_of_bytes(b"key"),
        "weights_digest": digest_of_bytes(b"weights"),
        "size_bytes": 1,
    },
    RunKind.MERGE: {
        "recipe_digest": digest_of_bytes(b"recipe"),
        "weights_digest": digest_of_bytes(b"weights"),
        "base_digest": BASE,
        "size_bytes": 1,
    },
    RunKind.EVALUATE: {
        "recipe_digest": digest_of_bytes(b"recipe"),
        "weights_digest": digest_of_bytes(b"weights"),
        "base_digest": BASE,
    },
    RunKind.SERVE: {"base_digest": BASE, "images": 0, "seconds": "1.0"},
    RunKind.PURGE: {
        "purged_objects": 0,
        "purged_bytes": 0,
        "inventory_digest": digest_of_bytes(b"inventory"),
        "residual_count": 0,
        "locked_count": 0,
    },
    RunKind.RESCAN: {"purged_objects": 0, "purged_bytes": 0},
    RunKind.SIGN: {},
    RunKind.FIND: {},
    RunKind.COMPARE: {},
}


def a_result(kind: RunKind, **fields: object) -> RunResult:
    """A result of that kind of run; fields that are not given have some value."""
    return RESULTS[kind].model_validate({**RESULT_FIELDS[kind], **fields})


def signing(*names: str, attempt: int = 1, after: int = 0) -> StartSigning:
    """A sign run of the receipts of these shards."""
    receipts = tuple(DueReceipt(uid(name), after) for name in names)
    return StartSigning(receipts, attempt)


def signed(start: StartSigning, first: int = 1, **fields: object) -> Run:
    """A sign run that wrote its receipts, from that place of the chain on."""
    receipts = tuple(
        SignedReceipt(
            shard=due.shard,
            sequence=place,
            digest=receipt_digest(place),
            previous=receipt_digest(first - 1) if place == first and first > 1 else None,
            signed_at="2026-11-22T12:00:00Z",
        ).model_copy(update=fields)
        for place, due in enumerate(start.receipts, start=first)
    )
    return ended(start, receipts=receipts)


def receipt_digest(place: int) -> Digest:
    """The digest of the envelope in that place of the chain."""
    return digest_of_bytes(f"receipt {place}".encode())


def broken(start: Start, exit_code: int | None, message: str = "it was killed") -> Run:
    """A run that failed."""
    failure = Failure(exit_code, message, "do better")
    return replace(a_run(start), failure=failure)


def a_world(
    soup: SoupBuilder,
    *things: ShardBuilder | TargetBuilder | ServerBuilder | Run,
    receipted: tuple[str, ...] = (),
    receipts: tuple[RecordedReceipt, ...] = (),
    ended: tuple[str, ...] = (),
) -> World:
    """Build a world that requests as many servers as it has, each of them recorded."""
    servers = tuple(thing.server for thing in things if isinstance(thing, ServerBuilder))
    granted = (
        ServerGrant(server.name, server.uid)
        for server in servers
        if server.epoch or not server.answers
    )
    done = (RecordedReceipt(f"pets-{n}", uid(name), n) for n, name in enumerate(receipted, start=1))
    return World(
        soup=replace(soup.soup, replicas=len(servers), granted=(*soup.soup.granted, *granted)),
        shards=tuple(thing.shard for thing in things if isinstance(thing, ShardBuilder)),
        targets=tuple(thing.target for thing in things if isinstance(thing, TargetBuilder)),
        runs=tuple(thing for thing in things if isinstance(thing, Run)),
        servers=servers,
        replicas=len(servers),
        ended=frozenset(f"uid of {name}" for name in ended),
        receipts=(*done, *receipts),
    )


def actions_for(world: World, now: datetime = NOON) -> tuple[Action, ...]:
    """The actions that one round plans."""
    return plan(check(world, now), now).actions


def names_of(world: World) -> tuple[RunName, ...]:
    """Names of the runs in a world."""
    return tuple(run.name for run in world.runs)
