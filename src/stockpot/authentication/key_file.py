"""Reads the private key that signs grants: Ed25519, PKCS #8 in PEM, with its predecessor beside it.

To replace the key, write the new one and keep the old one as `previous-grant-key.pem` until the
servers are rolled out: grants are signed with both, and each server accepts the one that it knows.
"""

from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stockpot.authentication.signatures import GrantSigner
from stockpot.errors import ExitCode, Refused

log = structlog.get_logger("stockpot.grants")

PREVIOUS = "previous-grant-key.pem"
"""The file beside the key with its predecessor, if servers may still know only that."""


class GrantKeyFile:
    """The key file of an operator, read anew for each use: a new key needs no restart.

    Safe to use from any thread.
    """

    def __init__(self, path: Path) -> None:
        """Read the key.

        Raises:
            Refused: It cannot be read, or is of another kind (exit 49).
        """
        self._path = path
        self._problem = ""
        self._last = read_grant_signer(path)

    @property
    def signer(self) -> GrantSigner:
        """Signs with the keys that the file has now; with the last good ones if it is damaged."""
        try:
            self._last, self._problem = read_grant_signer(self._path), ""
        except Refused as error:
            if error.message != self._problem:
                log.error(error.message, help=error.help)
            self._problem = error.message
        return self._last


def read_grant_signer(path: Path) -> GrantSigner:
    """Read a key, and its predecessor if that lies beside it.

    Raises:
        Refused: One of them cannot be read, or is of another kind (exit 49).
    """
    # The key first: if both are replaced meanwhile, the predecessor is there.
    keys = [read_grant_key(path)]
    beside = path.with_name(PREVIOUS)
    if beside.exists():
        keys.append(read_grant_key(beside))
    return GrantSigner(tuple(keys))


def read_grant_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        Refused: It cannot be read, or is of another kind (exit 49).
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _refused(path, "is not an unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _refused(path, "is not an Ed25519 key")
    return key


def new_grant_key() -> bytes:
    """Make a private key, as `read_grant_key` reads it."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _refused(path: Path, why: str) -> Refused:
    return Refused(
        f"the key that signs grants, {path}, {why}",
        help="make one: stockpot keygen --out grant-key.pem; on a cluster it is an entry of the "
        "Secret that the chart's grantKey names",
        exit_code=ExitCode.NO_SIGNING_KEY,
    )
