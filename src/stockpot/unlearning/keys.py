"""The key that receipts are signed with: Ed25519, PKCS #8 in PEM, and its public half."""

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

MAKE_ONE = "make one: stockpot keygen --out {path}"
PREVIOUS = "previous-key.pem"
"""Beside the signing key: the key that signed before it, for as long as some chain ends with it."""


def keygen(path: Path) -> Path:
    """Make a key; both halves appear whole, and nothing is ever overwritten.

    Args:
        path: Of the private key, mode 0600; missing folders above it are made.

    Returns:
        The file with the public key: `path` with `.pub` behind it.

    Raises:
        Refused: One of the two files is there already.
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
            # The public half first: a private key that is there has its public one beside it.
            with output_file(public, mode=0o644, is_new=True) as file:
                file.write(shown)
            is_shown = True
    except BaseException:
        if is_shown:
            public.unlink(missing_ok=True)
        raise
    return public


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the key that receipts are signed with.

    Raises:
        Refused: There is none, or it is of another kind (exit 49).
    """
    data = _read(path, "signing key")
    if b"PUBLIC KEY" in data:
        raise _wrong_kind(path, "is a public key; receipts are signed with the private one")
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise _wrong_kind(path, "is locked with a password; receipts are signed unasked") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong_kind(path, "is no private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong_kind(path, f"is {_kind(key)}; receipts are signed with Ed25519")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read the key that receipts are checked with.

    Raises:
        Refused: There is none, or it is of another kind (exit 49).
    """
    data = _read(path, "public key")
    if b"PRIVATE KEY" in data:
        raise _wrong_kind(path, "is a private key; receipts are checked with the public one")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong_kind(path, "is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_kind(path, f"is {_kind(key)}; receipts are signed with Ed25519")
    return key


def load_previous_key(path: Path) -> Ed25519PrivateKey | None:
    """Read the key that lies beside a signing key because it signed before; None without one.

    Raises:
        Refused: There is something else of its name (exit 49).
    """
    beside = path.with_name(PREVIOUS)
    return load_private_key(beside) if beside.exists() else None


def public_text(key: Ed25519PublicKey) -> str:
    """Write a public key as statements carry it: SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_text(text: str) -> Ed25519PublicKey:
    """Read a public key that a statement carries.

    Raises:
        ValueError: It is no Ed25519 key.
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
            help=MAKE_ONE.format(path=quoted(str(path).removesuffix(".pub"))),
            exit_code=ExitCode.NO_SIGNING_KEY,
        ) from error
    except PermissionError as error:
        raise Refused(
            f"the {what} at {path} cannot be read by this user",
            help=f"give it the right to: ls -l {quoted(path)}",
            exit_code=ExitCode.NO_SIGNING_KEY,
        ) from error


def _kind(key: object) -> str:
    name = type(key).__name__.lstrip("_")
    for end in ("PrivateKey", "PublicKey"):
        name = name.removesuffix(end)
    return f"of kind {name}"


def _taken(path: Path) -> Refused:
    return Refused(
        f"{path} is there already; a key is never overwritten",
        help="choose another name: what it signed needs it, to be continued or handed over",
        exit_code=ExitCode.USAGE,
    )


def _wrong_kind(path: Path, why: str) -> Refused:
    return Refused(
        f"{path} {why}",
        help=MAKE_ONE.format(path="NEW_FILE"),
        exit_code=ExitCode.NO_SIGNING_KEY,
    )
