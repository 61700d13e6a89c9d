"""An opening finds the receipt that covers its record; without it nobody can."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unlearning.history import History, check_about
from tests.unlearning.receipt_fixtures import DOGS, KEYS, a_filled_store

from stockpot.cli.opening import opening
from stockpot.errors import ExitCode, Refused
from stockpot.unlearning.commitments import Opening, commit, commitment_of, keep_commitments
from stockpot.unlearning.verify.disclosure import read_openings
from stockpot.unlearning.verify.verdict import Verdict


def test_the_copy_that_was_handed_out_opens_what_the_purge_commits_to(tmp_path: Path) -> None:
    store = a_filled_store(tmp_path / "store", tmp_path / "laid")
    opening_run = [DOGS.uid, "rex.png", "--store", str(store.root), "-n", "ml"]

    done = CliRunner().invoke(opening, opening_run, catch_exceptions=False)
    again = CliRunner().invoke(opening, opening_run, catch_exceptions=False)
    (tmp_path / "mine.json").write_text(done.output)

    (mine,) = read_openings(tmp_path / "mine.json")
    assert mine.record == "rex.png"
    assert again.output == done.output
    assert commitment_of(mine) in keep_commitments(store, KEYS, DOGS.uid, ("bello.png", "rex.png"))


def test_an_opening_finds_the_receipt_that_covers_the_record(in_folder: History) -> None:
    (mine, _), salts = commit(("rex.png", "bello.png"))
    in_folder.forge(3, commitments=(mine,))
    rex, bello = (
        Opening(record=record, salt=salt)
        for record, salt in zip(("rex.png", "bello.png"), salts, strict=True)
    )

    report = in_folder.verified(openings=(rex, bello))

    check = check_about(report, "record rex.png", "a receipt says that it was left out")
    assert (check.verdict, check.why) == (
        Verdict.PROVEN,
        "receipt 3, shard dogs, has the commitment that it opens",
    )
    assert check_about(report, "record bello.png", "left out").verdict is Verdict.NOT_CHECKABLE


@pytest.mark.parametrize("text", [None, "{", '{"record": "rex.png", "salt": "short"}'])
def test_an_invalid_opening_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(Refused, match="is not a readable list of openings") as caught:
        read_openings(path)

    assert caught.value.exit_code == ExitCode.USAGE
