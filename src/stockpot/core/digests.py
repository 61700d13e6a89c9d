"""Digests, which name values: the one place that defines what each covers.

A digest is `sha256:` and 64 hex digits. One that covers JSON covers its RFC 8785 form, and
a `version` beside the value, so that a change of meaning changes the name.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NewType

import rfc8785

Digest = NewType("Digest", str)

PREFIX = "sha256:"


def digest_of_bytes(data: bytes) -> Digest:
    """Name bytes by their SHA-256."""
    return Digest(PREFIX + hashlib.sha256(data).hexdigest())


def digest_of_json(version: str, value: Any) -> Digest:
    """Name a JSON value.

    Args:
        version: What the value means, as `recipe/1`; part of what is covered.
        value: Anything that JSON can say; no floats where bytes must agree between languages.
    """
    return digest_of_bytes(rfc8785.dumps({"version": version, "value": value}))


def digest_of_tree(files: Mapping[str, Digest]) -> Digest:
    """Name a folder: a Merkle root over (path, digest of the file), sorted by path.

    Args:
        files: POSIX paths relative to the folder, each with the digest of its bytes.
    """
    return digest_of_json("tree/1", [[path, files[path]] for path in sorted(files)])


def digest_of_records(records: Iterable[Digest]) -> Digest:
    """Name a data set: a Merkle root over its records, in no particular order.

    The order on disk, the names of the files and the kind of container do not matter, so the
    same records in a folder and in a tar are the same data.
    """
    return digest_of_json("records/1", sorted(records))


def short(digest: str) -> str:
    """Shorten a digest for people and for names: its first eight hex digits."""
    return digest.removeprefix(PREFIX)[:8]
