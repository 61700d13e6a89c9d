"""A soup of LoRAs on a tiny SDXL base: applied, served, one shard forgotten, and proven."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from tests.local.tiny_soup import STEPS, Table, environment, lay
from tests.tiny import RESOLUTION
from tests.tiny_families import an_sdxl_base

pytestmark = pytest.mark.timeout(900)
TRAINING = {
    "method": {"name": "LoRA", "options": {"rank": "4"}},
    "maxTrainSteps": STEPS,
    "trainBatchSize": 4,
    "resolution": RESOLUTION,
    "optimizer": {"options": {"learningRate": "0.01"}},
}


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = lay(tmp_path, "cats", "dogs", training=TRAINING)
    shutil.rmtree(tmp_path / "base")
    an_sdxl_base(tmp_path / "base")
    yield table
    table.down()


def verified(table: Table, *more: str | Path) -> subprocess.CompletedProcess[str]:
    [receipt] = table.receipts()
    arguments = ("--key", table.state / "signing-key.pem.pub", "--store", table.state / "store")
    head = f"{receipt.spec.sequence}:{receipt.spec.digest}"
    return subprocess.run(
        table.command("verify", "soup/tiny", *arguments, "--head", head, *more),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )


def test_a_lora_comes_and_goes_and_that_is_proven(table: Table) -> None:
    table.keygen()
    both = table.apply("soup", "cats", "dogs")
    assert both.code == 0, both.err
    with_dogs = table.weights()
    answer = urllib3.request(
        "POST",
        f"{table.url()}/v1/images/generations",
        json={"prompt": "a red square", "seed": 1, "num_inference_steps": 2},
        timeout=60,
    )
    assert answer.status == 200, answer.data
    assert answer.headers["X-Stockpot-Weights-Digest"] == with_dogs
    ingredients = (table.state / "store").rglob("shards/*/*/*.safetensors")
    revision = next((table.state / "store").rglob("revisions/*/*.safetensors"))
    largest = max(path.stat().st_size for path in ingredients)
    assert largest < revision.stat().st_size / 2, "an ingredient is its factors alone"

    gone = table.delete("dogs")

    assert gone.code == 0, gone.err
    assert table.weights() != with_dogs
    fresh = table.beside("never")
    try:
        assert fresh.apply("soup", "cats").code == 0
        assert fresh.weights() == table.weights(), "it is as if dogs had never been there"
    finally:
        fresh.down()
    without_base = verified(table)
    assert "it has LoRAs, which are folded into the base" in without_base.stdout
    proven = verified(table, "--base", table.root / "base")
    assert proven.returncode == 0, proven.stdout
    assert "exact mean of its ingredients" in proven.stdout
