"""Reads the history of a soup from its store, for an audit: members, receipts and revisions.

Of a forgotten shard only its receipt is left, so nothing else is known of it. Times of artefacts
are by the store's clock.
"""

from collections.abc import Iterator, Sequence

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.api.model import DigestString, Model
from stockpot.store.keys import MANIFEST
from stockpot.store.port import ObjectInfo
from stockpot.unlearning.chain import Link, read_chain
from stockpot.unlearning.envelope import key_name
from stockpot.unlearning.statement import UnlearningPredicate
from stockpot.unlearning.tombstone import tombstoned_at
from stockpot.unlearning.verify.store_listing import list_store
from stockpot.unlearning.verify.verdict import Report
from stockpot.unlearning.verify.verification import VerificationInput


class StoredTraining(Model):
    """One training of a member, in the store."""

    training_key: DigestString
    weights_digest: DigestString | None
    data_digest: DigestString | None
    records: int | None
    stored_at: str


class MemberHistory(Model):
    """One shard that is in the soup, or was."""

    shard: str
    """Its UID."""
    name: str
    """Empty where it is unknown."""
    learnt: tuple[StoredTraining, ...] = ()
    receipt: int | None = None
    """The number of the last receipt of its unlearning."""
    completeness: str | None = None
    """That receipt's completeness."""
    requested_at: str | None = None
    tombstoned_at: str | None = None
    signed_at: str | None = None
    removed_objects: int | None = None
    removed_bytes: int | None = None


class ReceiptSummary(Model):
    """One receipt, and the soup's members after it."""

    sequence: int
    digest: DigestString
    shard: str
    signed_at: str
    members: tuple[str, ...] | None
    """The shards in the soup from then on; None where nothing served any more."""
    weights_digest: DigestString | None


class KeyHandover(Model):
    """One handover from a signing key to the next."""

    sequence: int
    digest: DigestString
    old_key: str
    """Its name, as envelopes have it."""
    new_key: str
    signed_at: str


class RevisionHistory(Model):
    """One revision in the store."""

    recipe_digest: DigestString | None
    weights_digest: DigestString | None
    members: tuple[str, ...]
    stored_at: str


class Audit(Model):
    """The whole history of a soup's members."""

    version: int = 1
    namespace: str
    soup: str
    name: str
    members: tuple[MemberHistory, ...]
    """Present members first, then forgotten ones by receipt."""
    passages: tuple[ReceiptSummary, ...]
    rotations: tuple[KeyHandover, ...] = ()
    """Rotations of the signing key."""
    revisions: tuple[RevisionHistory, ...]
    """Sorted by time."""
    report: Report


def read_audit(inputs: VerificationInput, report: Report) -> Audit:
    """Read the history of a soup's members.

    Args:
        inputs: The soup and its store.
        report: The result of the soup's checks.

    Raises:
        Transient: The store cannot be read.
    """
    links = read_chain(inputs.store, inputs.keys, inputs.soup_uid, inputs.public_key).links
    signed = [(link, link.statement.predicate) for link in links if link.statement]
    manifests = list(_manifests(inputs))
    revisions = sorted(_revisions(inputs, manifests), key=lambda made: made.stored_at)
    uids = {uid for made in revisions for uid in made.members}
    for _, predicate in signed:
        uids |= {predicate.shard.uid}
        uids |= (
            {pair.shard for pair in predicate.successor.lineage} if predicate.successor else set()
        )
    members = [_member(inputs, uid, manifests, signed) for uid in sorted(uids)]
    return Audit(
        namespace=inputs.keys.namespace,
        soup=inputs.soup_uid,
        name=signed[-1][1].soup.name if signed else "",
        members=tuple(
            sorted(members, key=lambda member: (member.receipt or 0, member.name, member.shard))
        ),
        passages=tuple(_receipt_summary(link, predicate) for link, predicate in signed),
        rotations=tuple(_key_handovers(links)),
        revisions=tuple(revisions),
        report=report,
    )


def _manifests(inputs: VerificationInput) -> Iterator[tuple[ObjectInfo, Manifest]]:
    for info, manifest in list_store(inputs.store, inputs.keys.namespace).objects:
        if manifest and info.key.endswith(f"/{MANIFEST}"):
            head = inputs.store.head(info.key)
            if head and not info.is_delete_marker:
                yield head, manifest


def _revisions(
    inputs: VerificationInput, manifests: Sequence[tuple[ObjectInfo, Manifest]]
) -> Iterator[RevisionHistory]:
    folder, listed = inputs.keys.soup(inputs.soup_uid), set()
    for info, manifest in manifests:
        is_ours = info.key.startswith(folder) and manifest.kind is ArtefactKind.REVISION
        if is_ours and info.key not in listed:
            listed.add(info.key)
            yield RevisionHistory(
                recipe_digest=manifest.recipe_digest,
                weights_digest=manifest.digest,
                members=tuple(sorted({pair.shard for pair in manifest.lineage})),
                stored_at=info.modified_at,
            )


def _member(
    inputs: VerificationInput,
    uid: str,
    manifests: Sequence[tuple[ObjectInfo, Manifest]],
    signed: Sequence[tuple[Link, UnlearningPredicate]],
) -> MemberHistory:
    folder = inputs.keys.shard(uid)
    ingredients = {
        info.key: (info, manifest)
        for info, manifest in manifests
        if info.key.startswith(folder) and manifest.kind is ArtefactKind.INGREDIENT
    }
    learnt = tuple(
        StoredTraining(
            training_key=manifest.lineage[0].training_key,
            weights_digest=manifest.digest,
            data_digest=manifest.data_digest,
            records=manifest.records,
            stored_at=info.modified_at,
        )
        for info, manifest in ingredients.values()
        if manifest.lineage and manifest.lineage[0].training_key
    )
    named = [manifest.shard_name for _, manifest in ingredients.values() if manifest.shard_name]
    gone = [(link, predicate) for link, predicate in signed if predicate.shard.uid == uid]
    if not gone:
        return MemberHistory(
            shard=uid,
            name=named[0] if named else "",
            learnt=learnt,
            tombstoned_at=tombstoned_at(inputs.store, inputs.keys, uid),
        )
    link, predicate = gone[-1]
    return MemberHistory(
        shard=uid,
        name=predicate.shard.name,
        learnt=learnt,
        receipt=link.sequence,
        completeness=predicate.completeness,
        requested_at=predicate.requested_at,
        tombstoned_at=predicate.tombstoned_at,
        signed_at=predicate.signed_at,
        removed_objects=predicate.purge.objects,
        removed_bytes=predicate.purge.bytes,
    )


def _key_handovers(links: Sequence[Link]) -> Iterator[KeyHandover]:
    for link in links:
        if link.rotation and link.digest:
            old, new = (key_name(key) for key in link.rotation.keys)
            yield KeyHandover(
                sequence=link.sequence,
                digest=link.digest,
                old_key=old,
                new_key=new,
                signed_at=link.rotation.signed_at,
            )


def _receipt_summary(link: Link, predicate: UnlearningPredicate) -> ReceiptSummary:
    assert link.digest is not None
    successor = predicate.successor
    lineage = {pair.shard for pair in successor.lineage} if successor else set()
    return ReceiptSummary(
        sequence=link.sequence,
        digest=link.digest,
        shard=predicate.shard.uid,
        signed_at=predicate.signed_at,
        members=tuple(sorted(lineage)) if successor else None,
        weights_digest=successor.weights_digest if successor else None,
    )
