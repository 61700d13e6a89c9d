"""Creates and reads signing keys: Ed25519, the private key as PKCS #8 in PEM."""

from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import quoted
from stockpot.store.outputs import output_file

KEYGEN_HELP = "make one: stockpot keygen --out {path}"
PREVIOUS = "previous-key.pem"
"""The file beside the signing key with its predecessor, needed while some chain ends with that."""


def keygen(path: Path) -> Path:
    """Create a key pair; both files appear atomically, and no file is overwritten.

    Args:
        path: The private key's file, with mode 0600; missing parent folders are created.

    Returns:
        The public key's file: `path` with the suffix `.pub`.

    Raises:
        Refused: One of the two files exists already.
        Transient: The folder cannot be written.
    """
    public = path.with_name(f"{path.name}.pub")
    for taken in (path, public):
        if taken.exists() or taken.is_symlink():
            raise _taken(taken)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = public_text(key.public_key()).encode()
    is_shown = False
    try:
        with output_file(path, mode=0o600, is_new=True) as private:
            private.write(secret)
            # The public key first: so a private key never exists without its public key.
            with output_file(public, mode=0o644, is_new=True) as file:
                file.write(shown)
            is_shown = True
    except BaseException:
        if is_shown:
            public.unlink(missing_ok=True)
        raise
    return public


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs receipts.

    Raises:
        Refused: There is none, or it is of another kind (exit 49).
    """
    data = _read(path, "signing key")
    if b"PUBLIC KEY" in data:
        raise _wrong_kind(path, "is a public key; receipts are signed with the private one")
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise _wrong_kind(
            path, "is encrypted with a password; receipts are signed without a prompt"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong_kind(path, "is not a private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong_kind(path, f"is {_kind(key)}; receipts are signed with Ed25519")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read the key that verifies receipts.

    Raises:
        Refused: There is none, or it is of another kind (exit 49).
    """
    data = _read(path, "public key")
    if b"PRIVATE KEY" in data:
        raise _wrong_kind(path, "is a private key; receipts are checked with the public one")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong_kind(path, "is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_kind(path, f"is {_kind(key)}; receipts are signed with Ed25519")
    return key


def load_previous_key(path: Path) -> Ed25519PrivateKey | None:
    """Read the previous key beside a signing key; None where there is none.

    Raises:
        Refused: The file is not a private key (exit 49).
    """
    beside = path.with_name(PREVIOUS)
    return load_private_key(beside) if beside.exists() else None


def public_text(key: Ed25519PublicKey) -> str:
    """Encode a public key for a statement: SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_text(text: str) -> Ed25519PublicKey:
    """Decode a public key from a statement.

    Raises:
        ValueError: It is not an Ed25519 key.
    """
    key: object = None
    with suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(text.encode())
    if isinstance(key, Ed25519PublicKey):
        return key
    raise ValueError("it carries no Ed25519 key")


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Refused(
            f"there is no {what} at {path}",
            help=KEYGEN_HELP.format(path=quoted(str(path).removesuffix(".pub"))),
            exit_code=ExitCode.NO_SIGNING_KEY,
        ) from error
    except PermissionError as error:
        raise Refused(
            f"the {what} at {path} cannot be read by this user",
            help=f"give this user the right to read it; see: ls -l {quoted(path)}",
            exit_code=ExitCode.NO_SIGNING_KEY,
        ) from error


def _kind(key: object) -> str:
    name = type(key).__name__.lstrip("_")
    for end in ("PrivateKey", "PublicKey"):
        name = name.removesuffix(end)
    return f"of kind {name}"


def _taken(path: Path) -> Refused:
    return Refused(
        f"{path} exists already; a key is never overwritten",
        help="choose another name: the chains that this key signed need it, to continue or to "
        "hand over",
        exit_code=ExitCode.USAGE,
    )


def _wrong_kind(path: Path, why: str) -> Refused:
    return Refused(
        f"{path} {why}",
        help=KEYGEN_HELP.format(path="NEW_FILE"),
        exit_code=ExitCode.NO_SIGNING_KEY,
    )
