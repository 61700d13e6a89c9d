"""Whatever is killed, frozen or cut while a shard is forgotten: no pixel of it after the receipt.

`make chaos` as root; each test is one fault at one boundary, on one node that they share. What they
look at is in `runs`, what happens in `faults`, where in `points`.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.chaos.cluster.book import Book
from tests.chaos.cluster.chaos_cluster import ChaosCluster
from tests.chaos.cluster.pantry import Pantry
from tests.chaos.cluster.points import TROUBLES, Course, chosen
from tests.chaos.cluster.run_notes import RunNotes
from tests.chaos.cluster.runs import run
from tests.chaos.cluster.table import OUT, Ledger
from tests.chaos.cluster.verdict import count
from tests.e2e.studio import NAMESPACE, WHY_NOT

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.node,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"not run: {WHY_NOT}"),
    pytest.mark.timeout(3600),
]
CHOSEN = chosen()


@dataclass(frozen=True)
class Kitchen:
    """What all runs share."""

    chaos_cluster: ChaosCluster
    book: Book
    pantry: Pantry
    ledger: Ledger


@pytest.fixture(scope="module")
def kitchen(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Kitchen]:
    ours = [item for item in request.session.items if "course" in getattr(item, "fixturenames", ())]
    chosen = [item.callspec.params["course"] for item in ours]  # type: ignore[attr-defined]
    name = f"chaos-{os.getpid()}"
    between = any(course.faults & set(TROUBLES) for course in chosen)
    chaos_cluster = ChaosCluster(name, tmp_path_factory.mktemp("chaos") / "tiny", between=between)
    book = Book(chaos_cluster.places, NAMESPACE, OUT / f"{name}-answers.jsonl")
    pantry = Pantry(chaos_cluster, book)
    ledger = Ledger(len(chosen), name)
    try:
        chaos_cluster.up()
        book.begin()
        pantry.open(chosen)
        yield Kitchen(chaos_cluster, book, pantry, ledger)
        # All pictures once more: also those that came after a run was judged.
        for run_notes in ledger.runs:
            if run_notes.signed_at:
                count(
                    run_notes,
                    book.of(run_notes.soup),
                    pantry.until(run_notes.soup, run_notes.signed_at),
                )
        ledger.write_again()
        book.end()
    finally:
        pantry.close()
        chaos_cluster.down()
    assert not any(run_notes.triggers_after for run_notes in ledger.runs)


@pytest.mark.parametrize("course", CHOSEN, ids=str)
def test_no_picture_shows_a_shard_after_its_receipt(kitchen: Kitchen, course: Course) -> None:
    notes, began_s = RunNotes(tuple(map(str, course.points))), time.monotonic()
    try:
        kitchen.chaos_cluster.await_operators()
        run(kitchen.chaos_cluster, kitchen.book, kitchen.pantry, course, notes)
        notes.result = "ok"
    except BaseException as error:
        notes.result = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise
    finally:
        notes.took_s = round(time.monotonic() - began_s, 1)
        kitchen.chaos_cluster.mend()
        if notes.soup:
            kitchen.chaos_cluster.disarm(notes.soup)
            if notes.result == "ok":
                kitchen.pantry.give_back(notes.soup)
            else:
                kitchen.chaos_cluster.rest(notes.soup)
        kitchen.ledger.note(notes)
