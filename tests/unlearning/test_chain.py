"""A chain of receipts: its links, and each edit that breaks it."""

import base64
import json
from pathlib import Path

import pytest
import rfc8785
from tests.unlearning.receipt_fixtures import (
    CATS,
    KEYS,
    a_signing,
)
from tests.unlearning.sign_runs import (
    BEES,
    broken,
    chain_of,
    purged,
    receipt_path,
    sequence_of,
    signed,
    two_receipts,
)

from stockpot.api.chain import ChainHead
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.folder import FolderStore
from stockpot.unlearning.envelope import BadEnvelopeError, seal, unseal
from stockpot.unlearning.keys import keygen, load_private_key


def test_receipts_chain_by_the_digest_of_the_one_before(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)

    first, second = chain_of(store, key)

    assert (first.sequence, second.sequence) == (1, 2)
    assert first.statement.predicate.previous is None
    assert second.statement.predicate.previous == first.digest
    assert first.digest == digest_of_bytes(receipt_path(root, 1).read_bytes())
    assert second.statement.predicate.shard == BEES


def test_nothing_is_signed_onto_a_chain_that_was_set_back(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)
    second = chain_of(store, key)[1]
    purged(root, CATS)
    recorded = ChainHead(sequence=2, digest=second.digest, receipt=2)
    spec = a_signing(root, key, CATS).model_copy(update={"chain": recorded, "successor": None})
    data = receipt_path(root, 2).read_bytes()
    receipt_path(root, 2).unlink()

    with pytest.raises(Refused, match="the store lacks receipt 2 of soup emoji") as caught:
        signed(spec)

    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert "ml/receipts/soup-1/" in caught.value.help
    receipt_path(root, 2).write_bytes(data)
    assert sequence_of(signed(spec)) == 3


def test_another_key_does_not_continue_a_chain(
    root: Path, store: FolderStore, key: Path, tmp_path: Path
) -> None:
    two_receipts(root, key)
    keygen(tmp_path / "other.pem")

    with pytest.raises(Refused) as caught:
        chain_of(store, tmp_path / "other.pem")
    with pytest.raises(Refused) as refused:
        signed(a_signing(root, tmp_path / "other.pem", CATS))

    where = "ml/receipts/soup-1/00000001.dsse.json: it was signed by another key"
    assert where in caught.value.message
    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert refused.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert "a new key by itself continues no chain" in refused.value.message


def test_an_edited_receipt_breaks_the_chain(root: Path, store: FolderStore, key: Path) -> None:
    two_receipts(root, key)
    path = receipt_path(root, 2)
    envelope = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["completeness"] = "Incomplete"
    envelope["payload"] = base64.b64encode(rfc8785.dumps(statement)).decode()
    path.write_bytes(rfc8785.dumps(envelope))

    message = broken(store, key)

    assert "00000002.dsse.json: its signature does not fit: it was edited" in message


def test_a_receipt_that_was_put_in_place_of_another_breaks_the_chain(
    root: Path, store: FolderStore, key: Path
) -> None:
    # Signed with the right key, but not what the second one followed.
    two_receipts(root, key)
    private = load_private_key(key)
    first = receipt_path(root, 1)
    statement = json.loads(unseal(first.read_bytes(), private.public_key()))
    statement["predicate"]["requestedAt"] = "2020-01-01T00:00:00Z"
    first.write_bytes(seal(rfc8785.dumps(statement), private))

    assert "00000002.dsse.json: it follows sha256:" in broken(store, key)


def test_a_receipt_in_another_place_breaks_the_chain(
    root: Path, store: FolderStore, key: Path
) -> None:
    two_receipts(root, key)
    receipt_path(root, 1).write_bytes(receipt_path(root, 2).read_bytes())

    assert "00000001.dsse.json: it says that it is number 2" in broken(store, key)


def test_a_receipt_of_another_soup_breaks_the_chain(
    root: Path, store: FolderStore, key: Path
) -> None:
    purged(root)
    spec = a_signing(root, key)
    other = spec.soup.model_copy(update={"uid": "soup-9"})
    signed(spec.model_copy(update={"soup": other}))
    data = store.get(KEYS.receipt("soup-9", 1))
    assert data is not None
    store.put(KEYS.receipt("soup-1", 1), data)

    assert "it is a receipt of another soup: soup-9" in broken(store, key)


def test_a_gap_breaks_the_chain(root: Path, store: FolderStore, key: Path) -> None:
    two_receipts(root, key)
    receipt_path(root, 1).unlink()

    assert "00000001.dsse.json: it is missing, and others come after it" in broken(store, key)


def test_a_stray_file_breaks_the_chain(root: Path, store: FolderStore, key: Path) -> None:
    two_receipts(root, key)
    store.put(KEYS.receipts("soup-1") + "00000001.dsse.json.old", b"?")

    assert "00000001.dsse.json.old: it is no receipt" in broken(store, key)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is no DSSE envelope"),
        (b"[]", "it is no DSSE envelope"),
        (b'{"payload": "", "payloadType": "text/plain", "signatures": []}', "its payload is"),
        (
            b'{"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": []}',
            "it was signed by another key: none",
        ),
    ],
)
def test_an_invalid_envelope_is_refused_with_the_reason(
    root: Path, store: FolderStore, key: Path, data: bytes, why: str
) -> None:
    two_receipts(root, key)
    receipt_path(root, 2).write_bytes(data)

    assert f"00000002.dsse.json: {why}" in broken(store, key)


def test_a_signed_statement_of_an_unsupported_version_is_refused(
    root: Path, store: FolderStore, key: Path
) -> None:
    receipt = receipt_path(root, 1)
    receipt.parent.mkdir(parents=True)
    receipt.write_bytes(
        seal(b'{"_type": "https://in-toto.io/Statement/v9"}', load_private_key(key))
    )

    assert "this version does not support its content: _type" in broken(store, key)


def test_sealing_is_repeatable_and_unsealing_gives_back(key: Path) -> None:
    private = load_private_key(key)

    assert seal(b"{}", private) == seal(b"{}", private)
    assert unseal(seal(b"{}", private), private.public_key()) == b"{}"
    with pytest.raises(BadEnvelopeError):
        unseal(seal(b"{}", private)[:-1], private.public_key())
