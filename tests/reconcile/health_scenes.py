"""Objects in every state, as the operator writes them, and what tools should make of each."""

from dataclasses import dataclass
from typing import Any

from tests.builders import (
    NOON,
    a_run,
    a_server,
    a_shard,
    a_soup,
    a_world,
    broken,
    uid,
)

from stockpot.core.plan import check
from stockpot.core.report import report_of
from stockpot.core.run_starts import StartTraining
from stockpot.core.world import World
from stockpot.reconcile.objects.fields import conditions

CATS = a_shard("cats").trained()
DOGS = a_shard("dogs").trained()
TRAINING = StartTraining(uid("dogs"), a_shard("dogs").shard.request)
SERVER = a_server().of("cats")
SERVING = a_world(a_soup().of("cats"), CATS, SERVER)
STUCK = a_world(a_soup().of("cats"), CATS, a_shard("dogs"), SERVER, broken(TRAINING, 42))


@dataclass(frozen=True)
class Scene:
    """An object, the status that kstatus gives it, and its health in Argo CD."""

    thing: dict[str, Any]
    kstatus: str
    health: str


def a_soup_in(world: World, *, deleted: bool = False, generation: int = 1) -> dict[str, Any]:
    """Return a Soup with the status that the operator writes into it in this world."""
    report = report_of(check(world, NOON)).soup
    return _object("Soup", "pets", report, deleted, generation)


def a_shard_in(world: World, name: str, *, deleted: bool = False) -> dict[str, Any]:
    """Return a DataShard with the status that the operator writes into it in this world."""
    reports = report_of(check(world, NOON)).shards
    return _object("DataShard", name, next(r for r in reports if r.shard == uid(name)), deleted, 1)


def _object(kind: str, name: str, report: Any, deleted: bool, generation: int) -> dict[str, Any]:
    written = conditions((), report.conditions, 1, NOON)
    metadata = {"name": name, "namespace": "studio", "generation": generation}
    return {
        "apiVersion": "stockpot.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata | ({"deletionTimestamp": "2026-11-22T12:00:00Z"} if deleted else {}),
        "status": {
            "observedGeneration": 1,
            "state": report.state.value,
            "conditions": [
                condition.model_dump(mode="json", by_alias=True) for condition in written
            ],
        },
    }


NEW = {
    "apiVersion": "stockpot.dev/v1alpha1",
    "kind": "Soup",
    "metadata": {"name": "pets", "namespace": "studio", "generation": 1},
}
LEAVING = a_world(a_soup().of("cats"), CATS, DOGS.tombstoned(), SERVER)

SCENES: dict[str, Scene] = {
    # kstatus takes an object without a status for current.
    "soup-is-new": Scene(NEW, "Current", "Progressing"),
    "soup-has-no-shards": Scene(
        a_soup_in(a_world(a_soup().of(), a_server().of())), "InProgress", "Progressing"
    ),
    "soup-trains": Scene(
        a_soup_in(a_world(a_soup().of("cats"), CATS, a_shard("dogs"), SERVER, a_run(TRAINING))),
        "InProgress",
        "Progressing",
    ),
    "soup-merges": Scene(
        a_soup_in(a_world(a_soup().of("cats"), CATS, DOGS, SERVER)), "InProgress", "Progressing"
    ),
    "soup-serves": Scene(a_soup_in(SERVING), "Current", "Healthy"),
    "soup-was-changed": Scene(a_soup_in(SERVING, generation=2), "InProgress", "Progressing"),
    "soup-has-a-failed-shard": Scene(a_soup_in(STUCK), "Failed", "Degraded"),
    "soup-trains-beside-a-failed-shard": Scene(
        a_soup_in(
            a_world(
                a_soup().of("cats"),
                *(CATS, a_shard("birds"), a_shard("dogs"), SERVER, broken(TRAINING, 42)),
            )
        ),
        "InProgress",
        "Progressing",
    ),
    "soup-holds-shards-back": Scene(
        a_soup_in(a_world(a_soup().of("cats").with_fields(suspended=True), CATS, DOGS, SERVER)),
        "Current",
        "Suspended",
    ),
    "soup-unlearns": Scene(a_soup_in(LEAVING), "Current", "Healthy"),
    "soup-is-deleted": Scene(
        a_soup_in(
            a_world(a_soup().of("cats").with_fields(alive=False), CATS, SERVER), deleted=True
        ),
        "Terminating",
        "Progressing",
    ),
    "shard-trains": Scene(
        a_shard_in(a_world(a_soup().of(), a_shard("dogs"), a_run(TRAINING)), "dogs"),
        "InProgress",
        "Progressing",
    ),
    "shard-failed": Scene(a_shard_in(STUCK, "dogs"), "Failed", "Degraded"),
    "shard-is-served": Scene(a_shard_in(SERVING, "cats"), "Current", "Healthy"),
    "shard-is-excluded": Scene(
        a_shard_in(a_world(a_soup().of("cats"), CATS, DOGS.set_aside(), SERVER), "dogs"),
        "Current",
        "Healthy",
    ),
    "shard-is-deleted": Scene(
        a_shard_in(LEAVING, "dogs", deleted=True), "Terminating", "Progressing"
    ),
    "shard-expired": Scene(
        a_shard_in(
            a_world(a_soup().of("cats"), CATS, DOGS.expired(), SERVER, receipted=("dogs",)), "dogs"
        ),
        "Current",
        "Healthy",
    ),
}
