"""A DSSE implementation in Go accepts our envelopes, and refuses edited ones."""

import json
import subprocess
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tests.go_programs import build_program
from tests.unlearning.history import KEYS, SOUP, History

from stockpot.unlearning.envelope import PAYLOAD_TYPE, key_name, seal, unseal
from stockpot.unlearning.keys import keygen, load_private_key
from stockpot.unlearning.rotation import state_rotation

SOURCE = Path(__file__).with_name("go")


@pytest.fixture(scope="session")
def dsse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checker built on go-securesystemslib."""
    return build_program(SOURCE, tmp_path_factory.mktemp("go") / "dsse")


def checked(dsse: Path, key: Path, data: bytes, work: Path) -> subprocess.CompletedProcess[bytes]:
    envelope = work / "receipt.dsse.json"
    envelope.write_bytes(data)
    return subprocess.run([dsse, key, envelope], capture_output=True, check=False)


def test_every_receipt_is_accepted_and_says_the_same(
    dsse: Path, shared_history: History, tmp_path: Path
) -> None:
    for receipt in shared_history.receipts():
        data = shared_history.store.get(receipt.key)
        assert data is not None

        checked_envelope = checked(dsse, shared_history.public, data, tmp_path)

        assert checked_envelope.returncode == 0, checked_envelope.stderr
        assert checked_envelope.stdout == receipt.statement.canonical


def test_a_rotation_is_accepted_with_the_old_key_and_with_the_new_one(
    dsse: Path, shared_history: History, tmp_path: Path
) -> None:
    new = keygen(tmp_path / "new.pem")
    signers = load_private_key(shared_history.key), load_private_key(tmp_path / "new.pem")
    old_key, new_key = (signer.public_key() for signer in signers)
    statement = state_rotation(SOUP, old_key, new_key, 4, None)

    for key in (shared_history.public, new):
        checked_envelope = checked(dsse, key, seal(statement.canonical, *signers), tmp_path)

        assert checked_envelope.returncode == 0, checked_envelope.stderr
        assert checked_envelope.stdout == statement.canonical


def test_an_edited_receipt_is_refused(dsse: Path, shared_history: History, tmp_path: Path) -> None:
    envelope = json.loads(shared_history.store.get(KEYS.receipt(SOUP.uid, 1)) or b"")
    envelope["payloadType"] = "application/json"

    checked_envelope = checked(dsse, shared_history.public, json.dumps(envelope).encode(), tmp_path)

    assert checked_envelope.returncode == 1
    assert checked_envelope.stdout == b""


def test_another_key_is_refused(dsse: Path, shared_history: History, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other.pem")
    data = shared_history.store.get(KEYS.receipt(SOUP.uid, 1)) or b""

    assert checked(dsse, other, data, tmp_path).returncode == 1


def test_receipts_with_the_first_releases_key_id_stay_readable(shared_history: History) -> None:
    # The library's default key ID, which the first release used.
    key = load_private_key(shared_history.key)
    envelope = Envelope(b"said", PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(key))

    data = json.dumps(envelope.to_dict()).encode()

    assert key_name(key.public_key()) not in envelope.signatures
    assert unseal(data, key.public_key()) == b"said"
