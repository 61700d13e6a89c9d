"""Say of records that they were forgotten without saying which: salted commitments.

A receipt is kept for ever, so it names no record. It names a commitment of each: the digest of the
record's name behind a random salt. Whoever holds name and salt shows that a receipt means that
record; nobody else can, not even by trying all names. The salts lie in the shard's own folder,
under its lineage, until the purge removes them with all else. Whoever asked keeps a copy of theirs.

    commitments = keep(store, keys, shard_uid, records)   before the purge; asked again, the same
    openings(store, keys, shard_uid)                      the copy for whoever asked, until then
    purge                                                 the salts are gone
    opens(commitment, opening)                            ever after, by whoever kept the copy
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
    """What shows that a commitment is of one record. Personal: it is for whoever asked."""

    record: str
    """Its name, as `excludeRecords` has it."""
    salt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Openings(Model):
    version: int = 1
    openings: tuple[Opening, ...]


def commit(records: Sequence[str]) -> tuple[tuple[Digest, ...], tuple[str, ...]]:
    """Commit to records.

    Args:
        records: Names; the same name twice has two salts.

    Returns:
        Their commitments and their salts (64 hex digits), each in the order of the records.
    """
    salts = tuple(secrets.token_hex(SALT_BYTES) for _ in records)
    made = tuple(
        commitment_of(Opening(record=record, salt=salt))
        for record, salt in zip(records, salts, strict=True)
    )
    return made, salts


def commitment_of(opening: Opening) -> Digest:
    """Compute the commitment that an opening opens."""
    # The salt has one length, so no other pair of salt and name gives these bytes.
    data = _WHAT + bytes.fromhex(opening.salt) + opening.record.encode()
    return Digest(PREFIX + hashlib.sha256(data).hexdigest())


def opens(commitment: str, opening: Opening) -> bool:
    """Whether a commitment is of that record."""
    return commitment == commitment_of(opening)


def keep(
    store: ObjectStore, keys: Keys, shard_uid: str, records: Sequence[str]
) -> tuple[Digest, ...]:
    """Commit to a shard's records, and keep the salts beside what was made from it.

    Asked again it finds the same salts, for as long as nothing was purged: what was handed out
    stays true whatever is cut off in between.

    Args:
        store: Where the shard's artefacts lie.
        keys: Of the namespace.
        shard_uid: Of the shard.
        records: Names.

    Returns:
        A commitment for each different record, sorted: their order tells nothing.

    Raises:
        Refused: What lies there is nothing that this version wrote (exit 46).
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
    """Read what was kept for a shard's records, by name; empty before, and after the purge.

    Raises:
        Refused: What lies there is nothing that this version wrote (exit 46).
    """
    key = keys.commitments(shard_uid) + OPENINGS
    data = store.get(key)
    if data is None:
        return ()
    try:
        document = _Openings.model_validate_json(data)
    except ValidationError as error:
        raise _refused(key, f"it is no list of openings: {error.errors()[0]['msg']}") from error
    if document.version != 1:
        raise _refused(key, f"it is of version {document.version}; this program reads 1")
    return document.openings


def _refused(key: str, why: str) -> Refused:
    return Refused(
        f"{key} is refused: {why}",
        help="restore it, or delete its folder: then new salts are drawn, and copies that were "
        "handed out before show nothing any more",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
