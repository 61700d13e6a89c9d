"""The file of the key that signs grants, while it is replaced and where it is damaged."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from stockpot.authentication.key_file import (
    PREVIOUS,
    GrantKeyFile,
    new_grant_key,
    read_grant_signer,
)
from stockpot.errors import ExitCode, Refused
from stockpot.unlearning.keys import keygen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    key = tmp_path / "grant-key.pem"
    key.write_bytes(new_grant_key())
    return key


def test_a_new_key_signs_without_a_restart_and_beside_the_old_one(path: Path) -> None:
    file = GrantKeyFile(path)
    (old,) = file.signer.public_keys

    path.with_name(PREVIOUS).write_bytes(path.read_bytes())
    path.write_bytes(new_grant_key())
    new, previous = file.signer.public_keys
    path.with_name(PREVIOUS).unlink()

    assert previous == old != new
    assert file.signer.public_keys == (new,)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN PRIVATE KEY-----\n", None])
def test_the_last_good_key_signs_where_the_file_is_damaged(
    path: Path, damage: bytes | None
) -> None:
    file = GrantKeyFile(path)
    keys = file.signer.public_keys

    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)

    assert file.signer.public_keys == keys
    path.write_bytes(new_grant_key())
    assert file.signer.public_keys != keys


def test_a_key_of_stockpot_keygen_is_read(tmp_path: Path) -> None:
    path = tmp_path / "grant-key.pem"
    keygen(path)

    assert len(read_grant_signer(path).public_keys) == 1


def other_kind() -> bytes:
    key = Ed448PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"junk", "is not an unencrypted private key"),
        (other_kind(), "is not an Ed25519 key"),
    ],
)
def test_an_operator_does_not_start_without_a_usable_key(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(Refused, match=message) as refused:
        GrantKeyFile(path)

    assert refused.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert "grantKey" in refused.value.help
