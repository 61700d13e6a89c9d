"""`stockpot replay`: receipts as manifests, for a cluster restored from a backup."""

import threading
from pathlib import Path

import yaml
from click.testing import CliRunner
from tests.unlearning.receipt_fixtures import DOGS, SOUP, a_filled_store, a_purge, a_signing

from stockpot.api.v1alpha1 import (
    ObjectMeta,
    UidRef,
    UnlearningReceipt,
    UnlearningReceiptSpec,
)
from stockpot.cli.replay import receipts_without_objects, replay
from stockpot.core.digests import digest_of_bytes
from stockpot.metrics.progress import Progress
from stockpot.reconcile.objects.receipt import receipt_name
from stockpot.unlearning import purge, sign
from stockpot.unlearning.keys import keygen


def test_the_manifest_equals_the_object_that_the_operator_wrote(tmp_path: Path) -> None:
    root, key = tmp_path / "store", tmp_path / "key.pem"
    a_filled_store(root, tmp_path / "work")
    keygen(key)
    context = {"work": tmp_path, "progress": Progress(), "stop": threading.Event()}
    purge.run(a_purge(root), **context)  # type: ignore[arg-type]
    signed = sign.run(a_signing(root, key), **context)  # type: ignore[arg-type]

    arguments = [SOUP.uid, "--store", str(root), "--key", f"{key}.pub", "-n", "ml"]
    ended = CliRunner().invoke(replay, arguments, standalone_mode=False)

    assert ended.exception is None, ended.output
    [document] = yaml.safe_load_all(ended.output)
    receipt = UnlearningReceipt.model_validate(document)
    assert receipt.metadata.name == "emoji-soup-1-0001"
    assert receipt.spec.shard.uid == DOGS.uid
    [named] = signed.receipts
    assert (receipt.spec.digest, receipt.spec.sequence) == (named.digest, named.sequence)
    assert set(document["metadata"]) == {"name", "namespace"}


def a_receipt(sequence: int, soup_uid: str = "soup-uid-1", **spec: object) -> UnlearningReceipt:
    digest = digest_of_bytes(f"{soup_uid} {sequence}".encode())
    return UnlearningReceipt(
        metadata=ObjectMeta(name=receipt_name("emoji", soup_uid, sequence), namespace="ml"),
        spec=UnlearningReceiptSpec(
            soup_ref=UidRef(name="emoji", uid=soup_uid),
            shard=UidRef(name="dogs", uid=f"dogs-{sequence}"),
            sequence=sequence,
            digest=digest,
            requested_at="2026-11-22T12:00:00Z",
            store_key="somewhere",
        ).model_copy(update=spec),
    )


def test_only_receipts_without_an_object_are_written() -> None:
    receipts = [a_receipt(number) for number in (1, 2, 3)]

    assert list(receipts_without_objects(receipts, ())) == receipts
    assert list(receipts_without_objects(receipts, receipts)) == []
    assert list(receipts_without_objects(receipts, receipts[:1] + receipts[2:])) == [receipts[1]]


def test_a_receipt_whose_name_is_taken_gets_a_longer_name() -> None:
    mine = a_receipt(1)
    other = a_receipt(1, digest=digest_of_bytes(b"another chain"))

    [written] = receipts_without_objects([mine], [other])

    assert written.spec == mine.spec
    assert written.metadata.name == f"{mine.metadata.name}-{mine.spec.digest[7:15]}"


def test_an_object_of_an_earlier_release_counts_whatever_its_name() -> None:
    mine = a_receipt(1)
    meta = mine.metadata.model_copy(update={"name": "emoji-soup-0001"})

    assert (
        list(receipts_without_objects([mine], [mine.model_copy(update={"metadata": meta})])) == []
    )


def test_without_a_soup_the_flag_missing_is_required(tmp_path: Path) -> None:
    keygen(tmp_path / "key.pem")
    arguments = ["--store", str(tmp_path), "--key", str(tmp_path / "key.pem.pub")]

    ended = CliRunner().invoke(replay, arguments)

    assert ended.exit_code == 2
    assert "--missing" in ended.output
