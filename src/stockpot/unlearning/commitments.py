"""Salted commitments to records, so that a receipt can cover records without naming them.

A receipt is kept for ever, so it names no record. It has a commitment to each instead: the digest
of a random salt and the record's name. With name and salt (the opening) anybody can show that a
receipt covers that record; without the salt nobody can, not even by trying all names. The salts are
stored in the shard's own folder, under its lineage, until the purge removes them with everything
else. The person who requested the removal keeps a copy of the openings.

    commitments = keep_commitments(store, keys, shard_uid, records)   before the purge; repeatable
    openings(store, keys, shard_uid)                                  the openings, until the purge
    purge                                                             the salts are gone
    opens(commitment, opening)                                        at any time, with the copy
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Annotated

import rfc8785
from pydantic import StringConstraints, ValidationError

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.model import Model
from stockpot.core.digests import PREFIX, Digest
from stockpot.errors import ExitCode, Refused
from stockpot.store.artefacts import begin
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore

SALT_BYTES = 32
OPENINGS = "openings.json"
_WHAT = b"stockpot.dev/record-commitment/1\0"


class Opening(Model):
    """A record's name and salt, which open its commitment. Personal data of the requester."""

    record: str
    """Its name, as `excludeRecords` has it."""
    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Openings(Model):
    version: int = 1
    openings: tuple[Opening, ...]


def commit(records: Sequence[str]) -> tuple[tuple[Digest, ...], tuple[str, ...]]:
    """Commit to records.

    Args:
        records: Their names; the same name twice gets two salts.

    Returns:
        The commitments and the salts (64 hex digits), each in the order of the records.
    """
    salts = tuple(secrets.token_hex(SALT_BYTES) for _ in records)
    made = tuple(
        commitment_of(Opening(record=record, salt=salt))
        for record, salt in zip(records, salts, strict=True)
    )
    return made, salts


def commitment_of(opening: Opening) -> Digest:
    """Compute the commitment that an opening opens."""
    # The salt has a fixed length, so no other pair of salt and name gives these bytes.
    data = _WHAT + bytes.fromhex(opening.salt) + opening.record.encode()
    return Digest(PREFIX + hashlib.sha256(data).hexdigest())


def opens(commitment: str, opening: Opening) -> bool:
    """Whether an opening opens a commitment."""
    return commitment == commitment_of(opening)


def keep_commitments(
    store: ObjectStore, keys: Keys, shard_uid: str, records: Sequence[str]
) -> tuple[Digest, ...]:
    """Commit to a shard's records, and store the salts beside the shard's artefacts.

    Repeating it finds the same salts until the purge, so openings that were handed out stay valid
    even if a run is interrupted.

    Args:
        store: The store that has the shard's artefacts.
        keys: The store keys of the namespace.
        shard_uid: The shard's UID.
        records: Names of the records.

    Returns:
        A commitment for each distinct record, sorted, so that their order reveals nothing.

    Raises:
        Refused: The stored openings are not valid (exit 46).
    """
    kept = {opening.record: opening for opening in openings(store, keys, shard_uid)}
    new = sorted(set(records) - kept.keys())
    if new:
        _, salts = commit(new)
        kept |= {
            record: Opening(record=record, salt=salt)
            for record, salt in zip(new, salts, strict=True)
        }
        folder = keys.commitments(shard_uid)
        begin(
            store,
            folder,
            Manifest(kind=ArtefactKind.COMMITMENTS, lineage=(LineagePair(shard=shard_uid),)),
        )
        document = _Openings(openings=tuple(kept[name] for name in sorted(kept)))
        store.put(folder + OPENINGS, rfc8785.dumps(document.model_dump(mode="json", by_alias=True)))
    return tuple(sorted(commitment_of(kept[record]) for record in set(records)))


def openings(store: ObjectStore, keys: Keys, shard_uid: str) -> tuple[Opening, ...]:
    """Read the openings of a shard's records, by name; empty after the purge.

    Raises:
        Refused: The stored openings are not valid (exit 46).
    """
    key = keys.commitments(shard_uid) + OPENINGS
    data = store.get(key)
    if data is None:
        return ()
    try:
        document = _Openings.model_validate_json(data)
    except ValidationError as error:
        raise _refused(key, f"it is not a list of openings: {error.errors()[0]['msg']}") from error
    if document.version != 1:
        raise _refused(key, f"it is of version {document.version}; this program reads 1")
    return document.openings


def _refused(key: str, why: str) -> Refused:
    return Refused(
        f"{key} is refused: {why}",
        help="restore it, or delete its folder: then new salts are drawn, and openings that were "
        "handed out before open nothing any more",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
