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
from tests.chaos.cluster.house import House
from tests.chaos.cluster.pantry import Pantry
from tests.chaos.cluster.points import TROUBLES, Course, chosen
from tests.chaos.cluster.runs import run
from tests.chaos.cluster.table import OUT, Ledger
from tests.chaos.cluster.told import RunNotes
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

    house: House
    book: Book
    pantry: Pantry
    ledger: Ledger


@pytest.fixture(scope="module")
def kitchen(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Kitchen]:
    ours = [item for item in request.session.items if "course" in getattr(item, "fixturenames", ())]
    told = [item.callspec.params["course"] for item in ours]  # type: ignore[attr-defined]
    name = f"chaos-{os.getpid()}"
    between = any(course.faults & set(TROUBLES) for course in told)
    house = House(name, tmp_path_factory.mktemp("chaos") / "tiny", between=between)
    book = Book(house.places, NAMESPACE, OUT / f"{name}-answers.jsonl")
    pantry = Pantry(house, book)
    ledger = Ledger(len(told), name)
    try:
        house.up()
        book.begin()
        pantry.open(told)
        yield Kitchen(house, book, pantry, ledger)
        # All pictures once more: also those that came after a run was judged.
        for one in ledger.runs:
            if one.signed_at:
                count(one, book.of(one.soup), pantry.until(one.soup, one.signed_at))
        ledger.write_again()
        book.end()
    finally:
        pantry.close()
        house.down()
    assert not any(one.triggers_after for one in ledger.runs)


@pytest.mark.parametrize("course", CHOSEN, ids=str)
def test_no_picture_shows_a_shard_after_its_receipt(kitchen: Kitchen, course: Course) -> None:
    told, began_s = RunNotes(tuple(map(str, course.points))), time.monotonic()
    try:
        kitchen.house.await_operators()
        run(kitchen.house, kitchen.book, kitchen.pantry, course, told)
        told.result = "ok"
    except BaseException as error:
        told.result = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise
    finally:
        told.took_s = round(time.monotonic() - began_s, 1)
        kitchen.house.mend()
        if told.soup:
            kitchen.house.disarm(told.soup)
            if told.result == "ok":
                kitchen.pantry.give_back(told.soup)
            else:
                kitchen.house.rest(told.soup)
        kitchen.ledger.note(told)
