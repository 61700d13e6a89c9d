"""Runs all checks of one soup, in order: the chain, each of its receipts, the store, servers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.anchors import Anchor
from stockpot.unlearning.chain import ChainReading, Link, read_chain
from stockpot.unlearning.commitments import Opening
from stockpot.unlearning.envelope import key_name
from stockpot.unlearning.tombstone import read_tombstone
from stockpot.unlearning.verify.absence import check_absence, check_lineage
from stockpot.unlearning.verify.chain_head import CHAIN, Head, check_head
from stockpot.unlearning.verify.composition import Average, CompositionChecker
from stockpot.unlearning.verify.cross_checks import check_anchor, check_manifests, check_server
from stockpot.unlearning.verify.disclosure import check_openings
from stockpot.unlearning.verify.live import check_live
from stockpot.unlearning.verify.records import (
    check_completeness,
    check_inventory,
    check_residuals,
    check_servers,
    check_times,
    check_tombstone,
)
from stockpot.unlearning.verify.store_listing import StoreListing, list_store
from stockpot.unlearning.verify.verdict import Check, Report, Verdict, failed, proven, unknown

STORE = "the store"


@dataclass(frozen=True)
class VerificationInput:
    """The store to read, the key to trust, and the soup whose receipts to check."""

    store: ObjectStore
    store_name: str
    """The store's name in the report."""
    keys: Keys
    soup_uid: str
    public_key: Ed25519PublicKey


def verify(
    inputs: VerificationInput,
    *,
    head: Head | None,
    average: Average,
    urls: Sequence[str],
    anchor: Anchor | None = None,
    openings: Sequence[Opening] = (),
) -> Report:
    """Run all checks of a soup's receipts.

    Args:
        inputs: The store, the key and the soup.
        head: The recorded last receipt of the chain.
        average: Computes the digest of a mean.
        urls: URLs of the soup's servers to query.
        openings: Openings of records whose removal is to be checked.
        anchor: Has the chain's anchored heads. Without it and without a head, completeness is not
            checkable.

    Raises:
        Refused: There is no such anchor.
        Transient: The store cannot be read.
    """
    reading = read_chain(inputs.store, inputs.keys, inputs.soup_uid, inputs.public_key)
    links, entries = reading.links, reading.entries
    listing = list_store(inputs.store, inputs.keys.namespace)
    checks = (
        *_chain(inputs, reading, head, anchor),
        *check_manifests(listing, inputs.keys.soup(inputs.soup_uid), entries),
        *check_openings(openings, entries),
        *_receipts(inputs, links, listing, average),
        *(check for url in urls for check in _live(inputs, reading, url)),
    )
    return Report(
        store=inputs.store_name,
        soup=inputs.soup_uid,
        key=key_name(inputs.public_key),
        keys=reading.succession.names,
        receipts=len(entries) - sum(1 for link in entries if link.rotation),
        head=f"{entries[-1].sequence}:{entries[-1].digest}" if entries else "",
        checks=checks,
    )


def _chain(
    inputs: VerificationInput, reading: ChainReading, head: Head | None, anchor: Anchor | None
) -> Iterator[Check]:
    links, entries = reading.links, reading.entries
    yield from _signatures(reading)
    claim = "every receipt names the one before it"
    for link in links:
        if link.misplaced:
            yield failed(CHAIN, claim, f"{link.key}: {link.misplaced}")
    if any(link.unsigned for link in entries):
        yield unknown(CHAIN, claim, "the content of an entry without a valid signature is unknown")
    elif not any(link.misplaced for link in links):
        yield proven(CHAIN, claim)
    if head is not None or anchor is None:
        yield check_head(links, head)
    if anchor is not None:
        yield check_anchor(anchor, inputs.keys.namespace, inputs.soup_uid, entries)
    if not any(link.unsigned for link in entries):
        yield from _tombstones(inputs, links)


def _signatures(reading: ChainReading) -> Iterator[Check]:
    entries = reading.entries
    claim = "every receipt is signed with the key, and unedited since"
    for link in entries:
        if link.unsigned:
            yield failed(CHAIN, claim, f"{link.key}: {link.unsigned}")
    rotations = [link for link in entries if link.rotation]
    if not any(link.unsigned for link in entries):
        through = f", {len(reading.succession.names)} keys one after the other" if rotations else ""
        yield proven(CHAIN, claim, f"{len(entries) - len(rotations)} receipts{through}")
    for link in rotations:
        old, new = (key_name(key) for key in link.rotation.keys) if link.rotation else ("", "")
        claim = "both the old key and the new one have signed that the one follows the other"
        yield proven(CHAIN, claim, f"number {link.sequence}: {old} → {new}")


def _tombstones(inputs: VerificationInput, links: Sequence[Link]) -> Iterator[Check]:
    """Check for tombstones without a receipt: cutting off a chain leaves them behind."""
    claim = "every tombstone of the soup has its receipt"
    waiting = _unreceipted(inputs, links)
    for uid, at in waiting.items():
        why = (
            f"shard {uid}, forgotten at {at}, has none: its unlearning is in progress, or its "
            "receipt was deleted"
        )
        yield unknown(CHAIN, claim, why)
    if not waiting:
        yield proven(CHAIN, claim)


def _unreceipted(inputs: VerificationInput, links: Sequence[Link]) -> dict[str, str]:
    """Return the soup's shards with a tombstone and no receipt: the tombstone's time by UID."""
    receipted = {link.statement.predicate.shard.uid for link in links if link.statement}
    folder = inputs.keys.tombstone("")
    forgotten_at = {}
    for info in inputs.store.list(folder):
        uid = info.key.removeprefix(folder)
        mark = read_tombstone(inputs.store, inputs.keys, uid) if uid not in receipted else None
        if mark and mark.soup == inputs.soup_uid:
            forgotten_at[uid] = mark.at
    return forgotten_at


def _receipts(
    inputs: VerificationInput, links: Sequence[Link], listing: StoreListing, average: Average
) -> Iterator[Check]:
    store, keys = inputs.store, inputs.keys
    compositions = CompositionChecker(store, keys, inputs.soup_uid, average)
    going = dict.fromkeys(_unreceipted(inputs, links), 0)
    signed = [(link.sequence, link.statement.predicate) for link in links if link.statement]
    for number, (sequence, predicate) in enumerate(signed):
        about = f"receipt {sequence}, shard {predicate.shard.name}"
        after = signed[number + 1 :]
        later = {other.shard.uid: at for at, other in after}
        again = [other for _, other in after if other.shard.uid == predicate.shard.uid]
        signs = {other.purge.inventory_digest for other in again}
        inventory, inventoried = check_inventory(about, store, keys, predicate, signs)
        before = signed[number - 1][1] if number else None
        checks = (
            *compositions.check(about, predicate, going | later),
            *check_absence(about, listing, keys, predicate.shard.uid, inventory),
            *check_tombstone(about, store, keys, predicate),
            *inventoried,
            check_completeness(about, predicate),
            *check_residuals(about, predicate),
            check_servers(about, predicate),
            check_times(about, predicate, inventory, before),
        )
        # An Incomplete receipt is followed by another of its shard, which is checked too.
        yield from (_superseded(check) if again else check for check in checks)
    yield check_lineage(STORE, listing)


def _superseded(check: Check) -> Check:
    is_open = check.verdict is Verdict.NOT_CHECKABLE
    return check.model_copy(update={"superseded": True}) if is_open else check


def _live(inputs: VerificationInput, reading: ChainReading, url: str) -> Iterator[Check]:
    store, keys, uid = inputs.store, inputs.keys, inputs.soup_uid
    signed = [link.statement.predicate for link in reading.links if link.statement]
    yield from check_live(url, store, keys, uid, signed)
    yield check_server(url, store, keys, uid, reading.entries)
