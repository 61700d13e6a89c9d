"""`stockpot rotate`: its output, and what it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unlearning.receipt_fixtures import CATS, DOGS
from tests.unlearning.test_rotation import Notary, name, notary

from stockpot.cli.rotate import rotate
from stockpot.errors import ExitCode, Refused

__all__ = ["notary"]


def ran(notary: Notary, *arguments: str, key: str = "old", to: str = "new", code: int = 0) -> str:
    where = ("--store", str(notary.store.root), "-n", "ml")
    keys = ("--key", str(notary.root / key), "--to", str(notary.root / to))
    done = CliRunner().invoke(rotate, [*arguments, *where, *keys], standalone_mode=False)
    if done.exception:
        raise done.exception
    assert done.return_value == code, done.output
    return done.output


def test_the_new_key_and_the_head_are_printed(notary: Notary) -> None:
    notary.forget(DOGS)

    output = ran(notary, "soup/emoji")

    head = notary.chain(notary.old).entries[-1].digest
    assert output == (
        f"soup emoji (soup-1): {name(notary.new)} signs from here on\n  --head 2:{head}\n"
    )
    assert ran(notary, "soup/emoji") == output, "run again, nothing is written"


def test_all_soups_are_handed_over_even_if_one_chain_is_broken(notary: Notary) -> None:
    notary.forget(DOGS)  # The object of soup-3 in the store is no receipt.

    output = ran(notary, "--all", code=ExitCode.WRONG_DIGEST)

    assert f"soup emoji (soup-1): {name(notary.new)} signs from here on" in output
    assert "soup soup-3 (soup-3): the chain of receipts is broken" in output


def test_a_chain_that_was_handed_over_continues_with_the_new_key_alone(notary: Notary) -> None:
    notary.forget(DOGS)
    ran(notary, "soup/emoji")
    notary.install(notary.new)

    assert notary.forget(CATS) == 3


@pytest.mark.parametrize(
    ("arguments", "to", "why"),
    [
        ((), "new", "no soup is named"),
        (("soup/emoji", "--all"), "new", "both soup soup/emoji and --all are given"),
        (("soup/emoji",), "old", "are the same key"),
        (("soup/soap",), "new", "no soup soap has receipts"),
    ],
)
def test_contradictory_arguments_are_refused(
    notary: Notary, arguments: tuple[str, ...], to: str, why: str
) -> None:
    notary.forget(DOGS)

    with pytest.raises(Refused, match=why) as caught:
        ran(notary, *arguments, to=to)

    assert caught.value.exit_code == ExitCode.USAGE
    assert len(notary.chain(notary.old).entries) == 1


def test_a_key_that_did_not_sign_last_hands_nothing_over(notary: Notary, tmp_path: Path) -> None:
    notary.forget(DOGS)

    with pytest.raises(Refused, match="do not end with the signing key") as caught:
        ran(notary, "soup/emoji", key="third")

    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
