"""From the first apply to the last deletion on a laptop: real processes, files and requests."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import yaml
from tests.local.tiny_soup import Table, lay

from stockpot.store.folder import FolderStore
from stockpot.store.keys import Keys
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.keys import load_public_key

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = lay(tmp_path, "cats", "dogs", "bees")
    yield table
    table.down()


def ask(table: Table, seed: int = 1) -> tuple[str, str]:
    """Request a picture; return the digest of the weights, and that of the picture's bytes."""
    answer = urllib3.request(
        "POST",
        f"{table.url()}/v1/images/generations",
        json={"prompt": "a red square", "seed": seed, "num_inference_steps": 2},
        timeout=60,
    )
    assert answer.status == 200, answer.data
    png = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return answer.headers["X-Stockpot-Weights-Digest"], hashlib.sha256(png).hexdigest()


def test_a_shard_comes_and_goes_and_the_soup_is_what_it_was(table: Table) -> None:
    table.keygen()
    first = table.apply("soup", "cats", "dogs")
    assert first.code == 0, first.err
    weights, picture = table.weights(), ask(table)
    assert picture[0] == weights

    before = table.files()
    again = table.apply("soup", "cats", "dogs")
    assert (again.code, table.files()) == (0, before), "a second apply writes nothing"
    assert "unchanged" in again.out

    added = table.apply("bees")
    assert added.code == 0, added.err
    assert table.weights() != weights
    assert "+ train     bees" in added.out
    assert "+ train     cats" not in added.out

    gone = table.delete("bees")
    assert gone.code == 0, gone.err
    assert table.weights() == weights
    assert ask(table) == picture, "the same request gives the same bytes"
    assert "+ merge" not in gone.out, "the revision was found, and not merged again"
    assert set(table.shards()) == {"cats", "dogs"}
    [receipt] = table.receipts()
    assert receipt.spec.shard.name == "bees"

    fewer = table.delete("dogs")
    assert fewer.code == 0, fewer.err
    chain = check_chain(
        FolderStore(table.state / "store"),
        Keys("default"),
        table.soup().metadata.uid,
        load_public_key(table.state / "signing-key.pem.pub"),
    )
    assert [entry.statement.predicate.shard.name for entry in chain] == ["bees", "dogs"]
    leftovers = [name for name in table.files() if receipt.spec.shard.uid in name]
    assert {name.split("/")[2] for name in leftovers} == {"tombstones", "inventories", "unlearned"}

    soup = yaml.safe_load((table.root / "soup.yaml").read_text())
    soup["spec"]["serving"] = {"replicas": 0}  # Its weights are all that is asked for.
    (table.root / "unserved.yaml").write_text(yaml.safe_dump(soup))
    fresh = table.beside("never")
    try:
        fresh.apply("cats")
        assert fresh.apply("unserved").code == 0, "a shard may come before its soup"
        assert fresh.weights() == table.weights(), "it is as if dogs had never been there"
    finally:
        fresh.down()


def test_without_a_key_the_purge_goes_on_and_the_receipt_waits(table: Table) -> None:
    assert table.apply("soup", "cats").code == 0
    uid = table.shards()["cats"].metadata.uid
    base = next(revision for revision in table.revisions() if not revision.spec.parts)

    waiting = table.delete("cats")

    assert waiting.code == 4
    assert "stockpot keygen" in waiting.err
    assert not list((table.state / "store/default/shards").glob(f"{uid}/*/*.safetensors"))
    table.keygen()
    assert table.apply().code == 0
    assert [receipt.spec.shard.name for receipt in table.receipts()] == ["cats"]
    assert table.weights() == base.spec.weights_digest, "the last shard leaves the base behind"
    assert ask(table)[0] == base.spec.weights_digest
