"""`stockpot anchor`: which heads it records, and which chains it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unlearning.receipt_fixtures import CATS, DOGS, KEYS, SOUP
from tests.unlearning.test_rotation import Notary, notary

from stockpot.cli.anchor import anchor
from stockpot.cli.verify import verify
from stockpot.errors import ExitCode, Refused

__all__ = ["notary"]


def where(notary: Notary) -> list[str]:
    key = str(notary.root / "old.pub")
    return ["--store", str(notary.store.root), "-n", "ml", "--key", key]


def anchored(notary: Notary, to: Path) -> str:
    done = CliRunner().invoke(
        anchor, ["soup/emoji", *where(notary), "--to", str(to)], standalone_mode=False
    )
    if done.exception:
        raise done.exception
    return done.output


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return tmp_path / "heads.jsonl"


def test_a_head_is_recorded_once_and_the_next_is_appended(notary: Notary, heads: Path) -> None:
    notary.forget(DOGS)

    first, again = anchored(notary, heads), anchored(notary, heads)
    notary.forget(CATS)
    second = anchored(notary, heads)

    assert (first.startswith("1:sha256:"), first.endswith(" anchored\n")) == (True, True)
    assert again.endswith(" is anchored already\n")
    assert second.startswith("2:sha256:")
    assert len(heads.read_text().splitlines()) == 2


def test_a_chain_that_was_rolled_back_is_refused_and_not_recorded(
    notary: Notary, heads: Path
) -> None:
    notary.forget(DOGS)
    notary.forget(CATS)
    anchored(notary, heads)
    kept = heads.read_bytes()
    notary.store.delete(KEYS.receipt(SOUP.uid, 2))

    with pytest.raises(Refused, match="it was cut off or rolled back: number 2 was") as caught:
        anchored(notary, heads)

    assert caught.value.exit_code == ExitCode.DISPROVEN
    assert heads.read_bytes() == kept


def test_a_chain_whose_receipts_are_all_deleted_is_refused_by_name(
    notary: Notary, heads: Path
) -> None:
    notary.forget(DOGS)
    anchored(notary, heads)
    notary.store.delete(KEYS.receipt(SOUP.uid, 1))

    with pytest.raises(Refused, match="and now the chain has no entry"):
        anchored(notary, heads)
    done = CliRunner().invoke(
        verify, ["soup/emoji", *where(notary), "--anchor", str(heads)], standalone_mode=False
    )

    assert done.return_value == ExitCode.DISPROVEN
    assert "and now the chain has no entry" in " ".join(done.output.split())


def test_a_broken_chain_is_not_recorded(notary: Notary, heads: Path) -> None:
    notary.forget(DOGS)
    notary.store.put(KEYS.receipt(SOUP.uid, 1), b"?")

    with pytest.raises(Refused):
        anchored(notary, heads)

    assert not heads.exists()
