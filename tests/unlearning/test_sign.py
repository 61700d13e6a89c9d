"""What a receipt says, and what is never signed.

Invariant 17.
"""

import base64
import json
import threading
from pathlib import Path

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from tests.unlearning.receipt_fixtures import (
    DOGS,
    KEYS,
    a_signing,
    asking_for,
    lineage,
    recipe_of,
)
from tests.unlearning.sign_runs import (
    chain_of,
    purged,
    receipt_path,
    sequence_of,
    signed,
    two_receipts,
)

from stockpot.api.runspec import RevisionRef, SurvivingRecords
from stockpot.api.server_reports import EndedReport, Ending, HeldReport
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused, StockpotError, Waiting
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.unlearning.inventory import read_inventory
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.sign import run


def test_a_receipt_is_an_in_toto_statement_in_a_dsse_envelope(root: Path, key: Path) -> None:
    purged(root)
    report = HeldReport(server="emoji-0", instance_id="b", epoch=3, holds=(recipe_of("uid-cats"),))

    result = signed(a_signing(root, key, servers=[report]))

    data = receipt_path(root, 1).read_bytes()
    assert [receipt.digest for receipt in result.receipts] == [digest_of_bytes(data)]
    envelope = json.loads(data)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    assert payload == rfc8785.dumps(statement)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://stockpot.dev/unlearning-receipt/v1"
    weights = digest_of_bytes(b"weights of cats").removeprefix("sha256:")
    assert statement["subject"] == [{"name": "ml/emoji", "digest": {"sha256": weights}}]
    predicate = statement["predicate"]
    assert predicate["shard"] == {"namespace": "ml", "name": "dogs", "uid": "uid-dogs"}
    assert predicate["requestedAt"] == "2026-11-22T12:00:00Z"
    assert predicate["signedAt"].endswith("Z")
    assert predicate["successor"]["lineage"][0]["shard"] == "uid-cats"
    assert predicate["servers"][0]["holds"] == [recipe_of("uid-cats")]
    assert (predicate["sequence"], predicate["previous"]) == (1, None)
    assert predicate["completeness"] == "Complete"
    inventory = (root / KEYS.inventory("uid-dogs")).read_bytes()
    assert predicate["purge"] == {
        "objects": 12,
        "bytes": sum(item["sizeBytes"] for item in json.loads(inventory)["items"]),
        "inventoryDigest": digest_of_bytes(inventory),
        "residuals": 0,
    }


def test_the_signature_is_over_what_dsse_says(root: Path, key: Path) -> None:
    # Checked without the library that signed: PAE, then Ed25519.
    purged(root)
    signed(a_signing(root, key))
    envelope = json.loads(receipt_path(root, 1).read_bytes())
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    public = load_public_key(key.with_name("key.pem.pub"))

    signed_bytes = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    public.verify(signature, signed_bytes)
    with pytest.raises(InvalidSignature):
        public.verify(signature, signed_bytes + b" ")


def test_a_shard_has_one_receipt_however_often_it_is_requested(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)

    again = signed(a_signing(root, key))

    assert again.reused
    [receipt] = again.receipts
    assert (receipt.sequence, receipt.digest) == (1, chain_of(store, key)[0].digest)
    assert len(chain_of(store, key)) == 2


def test_records_that_another_shard_has_are_named_and_the_receipt_is_complete(
    root: Path, key: Path
) -> None:
    purged(root)
    survivors = (SurvivingRecords(shard="uid-cats", name="cats", records=120),)

    signed(asking_for(a_signing(root, key), survives_in=survivors))

    payload = base64.b64decode(json.loads(receipt_path(root, 1).read_bytes())["payload"])
    predicate = json.loads(payload)["predicate"]
    assert predicate["survivesIn"] == [{"shard": "uid-cats", "name": "cats", "records": 120}]
    assert predicate["completeness"] == "Complete"


def test_residuals_make_a_receipt_incomplete(root: Path, store: FolderStore, key: Path) -> None:
    store.put("ml/soups/soup-1/stray", b"who knows")
    purged(root)

    result = signed(a_signing(root, key))

    predicate = chain_of(store, key)[0].statement.predicate
    assert (predicate.completeness, predicate.purge.residuals) == ("Incomplete", 1)
    assert [(receipt.residuals, receipt.missing) for receipt in result.receipts] == [(1, 0)]


def test_an_incomplete_receipt_is_followed_by_another_and_a_complete_one_by_none(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)
    first = asking_for(a_signing(root, key), missing=("UnreachableNode: pets-1",))

    assert [sequence_of(signed(first)), sequence_of(signed(first))] == [1, 1]
    later = asking_for(a_signing(root, key), after=1)
    assert sequence_of(signed(later)) == 2
    assert sequence_of(signed(asking_for(later, after=2))) == 2

    predicates = [entry.statement.predicate for entry in chain_of(store, key)]
    assert [entry.completeness for entry in predicates] == ["Incomplete", "Complete"]
    assert predicates[0].missing == ("UnreachableNode: pets-1",)


def test_a_soup_that_serves_nothing_more_has_a_receipt_about_the_purge(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)

    signed(a_signing(root, key).model_copy(update={"successor": None}))

    [subject] = chain_of(store, key)[0].statement.subject
    assert subject.name == "inventory of uid-dogs"
    inventory = read_inventory(store, KEYS, DOGS.uid)
    assert inventory is not None
    assert inventory.digest == f"sha256:{subject.digest['sha256']}"


def test_without_a_purge_there_is_no_receipt(root: Path, store: FolderStore, key: Path) -> None:
    with pytest.raises(Waiting) as no_tombstone:
        signed(a_signing(root, key))
    purged(root)
    inventory = root / KEYS.inventory("uid-dogs")
    data = inventory.read_bytes()
    inventory.unlink()
    with pytest.raises(Waiting) as no_inventory:
        signed(a_signing(root, key))
    inventory.write_bytes(data.replace(b'"complete":true', b'"complete":false'))
    with pytest.raises(Waiting) as not_ended:
        signed(a_signing(root, key))

    assert "there is no tombstone at ml/tombstones/uid-dogs" in no_tombstone.value.message
    assert "there is no inventory at ml/inventories/uid-dogs.json" in no_inventory.value.message
    assert "the purge has not ended" in not_ended.value.message
    assert not_ended.value.help == "run its purge to the end first"
    assert chain_of(store, key) == ()


def test_a_successor_that_was_made_with_the_shard_is_refused(root: Path, key: Path) -> None:
    purged(root)
    spec = a_signing(root, key)
    assert spec.successor is not None
    tainted = spec.successor.model_copy(update={"lineage": lineage("uid-cats", "uid-dogs")})

    with pytest.raises(Refused) as caught:
        signed(spec.model_copy(update={"successor": RevisionRef.model_validate(tainted)}))

    assert "was made with shard uid-dogs" in caught.value.message
    assert not receipt_path(root, 1).exists()


def test_signing_waits_for_a_server_that_holds_purged_weights(root: Path, key: Path) -> None:
    purged(root)
    tainted = recipe_of("uid-cats", "uid-dogs")
    report = HeldReport(server="emoji-1", instance_id="b", epoch=3, holds=(tainted,))

    with pytest.raises(Waiting) as caught:
        signed(a_signing(root, key, servers=[report]))

    assert caught.value.message.startswith(f"server emoji-1 holds {tainted}")
    assert not receipt_path(root, 1).exists()


def test_a_receipt_names_each_servers_nonce_and_how_others_ended(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)
    held = HeldReport(
        server="emoji-0",
        uid="pod-0",
        node="node-a",
        nonce="00ff",
        instance_id="b",
        epoch=3,
        holds=(recipe_of("uid-cats"),),
    )
    gone = EndedReport(server="emoji-1", uid="pod-1", node="node-b", how=Ending.OUT_OF_SERVICE)

    spec = a_signing(root, key, servers=[held])
    signed(spec.model_copy(update={"ended": (gone,)}))

    predicate = chain_of(store, key)[0].statement.predicate
    assert (predicate.servers, predicate.ended) == ((held,), (gone,))


def test_without_a_key_nothing_is_signed(root: Path, tmp_path: Path) -> None:
    purged(root)

    with pytest.raises(Refused) as caught:
        signed(a_signing(root, tmp_path / "nowhere.pem"))

    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert "stockpot keygen --out" in caught.value.help


def test_an_interrupted_run_signs_nothing(root: Path, key: Path) -> None:
    purged(root)
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError) as caught:
        run(a_signing(root, key), work=root, progress=Progress(), stop=stop)

    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert not receipt_path(root, 1).exists()


def test_nothing_here_loads_torch() -> None:
    import subprocess
    import sys

    names = ("purge", "sign", "chain", "keys")
    program = "; ".join(f"import stockpot.unlearning.{name}" for name in names)
    program += "; import stockpot.merging.run, sys; print('torch' in sys.modules)"
    source = Path(__file__).resolve().parents[2] / "src"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "False\n"
