"""Receipts as objects again, for a cluster whose objects came back from a backup."""

import threading
from pathlib import Path

import yaml
from click.testing import CliRunner
from tests.unlearning.cellar import DOGS, SOUP, a_cellar, a_purge, a_signing

from stockpot.api.v1alpha1 import UnlearningReceipt
from stockpot.cli.replay import replay
from stockpot.metrics.progress import Progress
from stockpot.unlearning import purge, sign
from stockpot.unlearning.keys import keygen


def test_what_is_written_is_what_the_operator_wrote(tmp_path: Path) -> None:
    root, key = tmp_path / "store", tmp_path / "key.pem"
    a_cellar(root, tmp_path / "work")
    keygen(key)
    told = {"work": tmp_path, "progress": Progress(), "stop": threading.Event()}
    purge.run(a_purge(root), **told)  # type: ignore[arg-type]
    signed = sign.run(a_signing(root, key), **told)  # type: ignore[arg-type]

    arguments = [SOUP.uid, "--store", str(root), "--key", f"{key}.pub", "-n", "ml"]
    ended = CliRunner().invoke(replay, arguments, standalone_mode=False)

    assert ended.exception is None, ended.output
    [document] = yaml.safe_load_all(ended.output)
    receipt = UnlearningReceipt.model_validate(document)
    assert receipt.metadata.name == "emoji-soup-0001"
    assert receipt.spec.shard.uid == DOGS.uid
    assert receipt.spec.digest == signed.receipt_digest
    assert receipt.spec.sequence == signed.receipt_sequence
    assert set(document["metadata"]) == {"name", "namespace"}
