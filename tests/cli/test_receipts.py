"""`stockpot receipts`: what the store has, whatever became of the objects and namespaces."""

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unlearning.receipt_fixtures import DOGS, KEYS, a_filled_store, a_purge, a_signing

from stockpot.cli.receipts import receipts
from stockpot.metrics.progress import Progress
from stockpot.unlearning import purge, sign
from stockpot.unlearning.keys import keygen


@pytest.fixture
def signed(tmp_path: Path) -> tuple[str, ...]:
    """The options that name a store with one receipt, in the namespace `ml`."""
    root, key = tmp_path / "store", tmp_path / "key.pem"
    a_filled_store(root, tmp_path / "work")
    (root / KEYS.receipts("soup-3") / "00000001.dsse.json").unlink()  # Of no receipt.
    keygen(key)
    context = {"work": tmp_path, "progress": Progress(), "stop": threading.Event()}
    purge.run(a_purge(root), **context)  # type: ignore[arg-type]
    sign.run(a_signing(root, key), **context)  # type: ignore[arg-type]
    return ("--store", str(root), "--key", f"{key}.pub")


def test_receipts_of_every_namespace_are_listed(signed: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(receipts, signed, standalone_mode=False)

    head, line = ended.stdout.splitlines()
    assert head.split()[:3] == ["NAMESPACE", "SOUP", "NUMBER"]
    assert line.split()[:4] == ["ml", "emoji", "1", "dogs"]
    assert ended.return_value == 0


def test_one_namespace_is_listed_alone(signed: tuple[str, ...]) -> None:
    elsewhere = CliRunner().invoke(receipts, [*signed, "-n", "other"], standalone_mode=False)
    there = CliRunner().invoke(receipts, [*signed, "-n", "ml", "-o", "json"], standalone_mode=False)

    assert len(elsewhere.stdout.splitlines()) == 1
    [receipt] = json.loads(there.stdout)
    assert (receipt["namespace"], receipt["shard"]["uid"]) == ("ml", DOGS.uid)


def test_a_chain_that_was_edited_is_named_and_hides_nothing(
    signed: tuple[str, ...], tmp_path: Path
) -> None:
    [path] = (tmp_path / "store" / "ml" / "receipts").rglob("*.dsse.json")
    other = tmp_path / "store" / "another" / "receipts" / "soup-9" / path.name
    other.parent.mkdir(parents=True)
    other.write_bytes(path.read_bytes()[:-40])

    ended = CliRunner().invoke(receipts, signed, standalone_mode=False)

    assert "ml" in ended.stdout
    assert ended.stderr.startswith("error: ")
    assert path.name in ended.stderr
    assert ended.return_value == 43
