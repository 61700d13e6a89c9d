"""Keys are created once and never overwritten, and each kind of wrong file has its own error."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from stockpot.errors import ExitCode, Refused
from stockpot.unlearning.keys import keygen, load_private_key, load_public_key


def pem(key: Ed25519PrivateKey | rsa.RSAPrivateKey, how: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def refusal_of(path: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        load_private_key(path)
    assert caught.value.exit_code == ExitCode.NO_SIGNING_KEY
    assert "stockpot keygen --out" in caught.value.help
    return caught.value


def test_a_key_and_its_public_half_fit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "signing-key.pem"

    public = keygen(path)

    assert public == tmp_path / "deep" / "signing-key.pem.pub"
    signature = load_private_key(path).sign(b"said")
    load_public_key(public).verify(signature, b"said")


def test_only_its_owner_reads_the_private_key(tmp_path: Path) -> None:
    public = keygen(tmp_path / "key.pem")

    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "key.pem.pub"]


@pytest.mark.parametrize("taken", ["key.pem", "key.pem.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_bytes(b"precious")

    with pytest.raises(Refused) as caught:
        keygen(tmp_path / "key.pem")

    assert f"{tmp_path / taken} exists already" in caught.value.message
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    error = refusal_of(tmp_path / "nowhere.pem")

    assert error.message == f"there is no signing key at {tmp_path / 'nowhere.pem'}"
    assert error.help == f"make one: stockpot keygen --out {tmp_path / 'nowhere.pem'}"


def test_a_key_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rsa.pem"
    path.write_bytes(pem(rsa.generate_private_key(65537, 2048), NoEncryption()))

    assert refusal_of(path).message == (f"{path} is of kind RSA; receipts are signed with Ed25519")


def test_a_locked_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "locked.pem"
    path.write_bytes(pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")))

    assert "is encrypted with a password" in refusal_of(path).message


def test_the_public_half_cannot_sign(tmp_path: Path) -> None:
    public = keygen(tmp_path / "key.pem")

    assert "is a public key" in refusal_of(public).message


def test_garbage_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")

    assert "is not a private key in PEM" in refusal_of(path).message


def test_the_private_half_is_not_for_checking(tmp_path: Path) -> None:
    keygen(tmp_path / "key.pem")

    with pytest.raises(Refused) as caught:
        load_public_key(tmp_path / "key.pem")

    assert "is a private key" in caught.value.message


def test_a_public_key_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rsa.pub"
    key = rsa.generate_private_key(65537, 2048).public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    with pytest.raises(Refused) as caught:
        load_public_key(path)

    assert "is of kind RSA" in caught.value.message
