"""What people read of a plan, as files that a reviewer sees change. Write them: make golden."""

import os
from pathlib import Path

import pytest
from tests.spec.vocabulary import *

FOLDER = Path(__file__).parent / "plans"
CATS = a_shard("cats").trained()
DOGS = a_shard("dogs").trained()
LEAVING = a_shard("dogs").trained().tombstoned()
FAILED = StartTraining(uid("eels"), a_shard("eels").shard.request)

WORLDS: dict[str, World] = {
    "nothing-yet": a_world(a_soup(), a_shard("cats").not_held(), a_shard("dogs")),
    "a-shard-joins": a_world(
        a_soup().of("cats"), CATS, DOGS.weighing("0.5"), a_server().of("cats")
    ),
    "a-shard-leaves": a_world(
        a_soup().of("cats", "dogs"), CATS, LEAVING, a_server().of("cats", "dogs")
    ),
    "a-shard-is-being-purged": a_world(
        a_soup().of("cats"), CATS, LEAVING, a_server().of("cats"), a_run(StartPurge(uid("dogs")))
    ),
    "a-shard-is-forgotten": a_world(
        a_soup().of("cats"),
        CATS,
        LEAVING,
        a_server().of("cats"),
        ended(StartPurge(uid("dogs"))),
        receipted=("dogs",),
    ),
    "a-training-failed": a_world(
        a_soup().of("cats"), CATS, a_shard("eels"), broken(FAILED, 42, "eels has no captions")
    ),
    "a-merge-is-under-way": a_world(
        a_soup().of("cats"), CATS, DOGS, a_run(StartMerge(a_recipe("cats", "dogs")))
    ),
    "settled": a_world(a_soup().of("cats", "dogs"), CATS, DOGS, a_server().of("cats", "dogs")),
}


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_a_plan_reads_as_it_did(name: str) -> None:
    assessment = check(WORLDS[name], NOON)
    text = render(assessment, plan(assessment, NOON))
    path = FOLDER / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    assert path.read_text() == text, "a plan reads otherwise now; if it should: make golden"


def test_no_golden_file_is_left_behind() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(WORLDS)
