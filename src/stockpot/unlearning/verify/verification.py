"""All checks of one soup, in order: the chain, each of its receipts, the store, servers."""

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
from stockpot.unlearning.verify.absence import check_absence, check_strays
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
    """What a verifier has: a store to read, a key to trust, and whose receipts to check."""

    store: ObjectStore
    store_name: str
    """As the report calls it."""
    keys: Keys
    soup_uid: str
    public_key: Ed25519PublicKey


def verify(
    ground: VerificationInput,
    *,
    head: Head | None,
    average: Average,
    urls: Sequence[str],
    anchor: Anchor | None = None,
    openings: Sequence[Opening] = (),
) -> Report:
    """Check everything that there is to check of a soup's receipts.

    Args:
        ground: What to read, and what to trust.
        head: The chain's last receipt as somebody kept it.
        average: Computes the digest of a mean.
        urls: Servers of the soup to ask.
        openings: Of records that somebody asked to be left out.
        anchor: Where its heads were kept. Without it and without a head, completeness is not known.

    Raises:
        Refused: There is no such anchor.
        Transient: The store cannot be read.
    """
    reading = read_chain(ground.store, ground.keys, ground.soup_uid, ground.public_key)
    links, lying = reading.links, reading.entries
    holdings = list_store(ground.store, ground.keys.namespace)
    checks = (
        *_chain(ground, reading, head, anchor),
        *check_manifests(holdings, ground.keys.soup(ground.soup_uid), lying),
        *check_openings(openings, lying),
        *_receipts(ground, links, holdings, average),
        *(check for url in urls for check in _live(ground, reading, url)),
    )
    return Report(
        store=ground.store_name,
        soup=ground.soup_uid,
        key=key_name(ground.public_key),
        keys=reading.succession.names,
        receipts=len(lying) - sum(1 for link in lying if link.rotation),
        head=f"{lying[-1].sequence}:{lying[-1].digest}" if lying else "",
        checks=checks,
    )


def _chain(
    ground: VerificationInput, reading: ChainReading, head: Head | None, anchor: Anchor | None
) -> Iterator[Check]:
    links, lying = reading.links, reading.entries
    yield from _signatures(reading)
    claim = "every receipt names the one before it"
    for link in links:
        if link.misplaced:
            yield failed(CHAIN, claim, f"{link.key}: {link.misplaced}")
    if any(link.unsigned for link in lying):
        yield unknown(CHAIN, claim, "what is not signed with the key names nothing")
    elif not any(link.misplaced for link in links):
        yield proven(CHAIN, claim)
    if head is not None or anchor is None:
        yield check_head(links, head)
    if anchor is not None:
        yield check_anchor(anchor, ground.keys.namespace, ground.soup_uid, lying)
    if not any(link.unsigned for link in lying):
        yield from _tombstones(ground, links)


def _signatures(reading: ChainReading) -> Iterator[Check]:
    lying = reading.entries
    claim = "every receipt is signed with the key, and unedited since"
    for link in lying:
        if link.unsigned:
            yield failed(CHAIN, claim, f"{link.key}: {link.unsigned}")
    rotations = [link for link in lying if link.rotation]
    if not any(link.unsigned for link in lying):
        through = f", {len(reading.succession.names)} keys one after the other" if rotations else ""
        yield proven(CHAIN, claim, f"{len(lying) - len(rotations)} receipts{through}")
    for link in rotations:
        old, new = (key_name(key) for key in link.rotation.keys) if link.rotation else ("", "")
        claim = "both the old key and the new one have signed that the one follows the other"
        yield proven(CHAIN, claim, f"number {link.sequence}: {old} → {new}")


def _tombstones(ground: VerificationInput, links: Sequence[Link]) -> Iterator[Check]:
    """Tombstones without a receipt: a chain that was cut off leaves them behind."""
    claim = "every tombstone of the soup has its receipt"
    waiting = _unreceipted(ground, links)
    for uid, at in waiting.items():
        why = (
            f"shard {uid}, forgotten at {at}, has none: its unlearning is under way, or its "
            "receipt was taken away"
        )
        yield unknown(CHAIN, claim, why)
    if not waiting:
        yield proven(CHAIN, claim)


def _unreceipted(ground: VerificationInput, links: Sequence[Link]) -> dict[str, str]:
    """Shards of the soup that a tombstone stands for and no receipt: UID, and since when."""
    receipted = {link.statement.predicate.shard.uid for link in links if link.statement}
    folder = ground.keys.tombstone("")
    forgotten_at = {}
    for info in ground.store.list(folder):
        uid = info.key.removeprefix(folder)
        mark = read_tombstone(ground.store, ground.keys, uid) if uid not in receipted else None
        if mark and mark.soup == ground.soup_uid:
            forgotten_at[uid] = mark.at
    return forgotten_at


def _receipts(
    ground: VerificationInput, links: Sequence[Link], holdings: StoreListing, average: Average
) -> Iterator[Check]:
    store, keys = ground.store, ground.keys
    compositions = CompositionChecker(store, keys, ground.soup_uid, average)
    going = dict.fromkeys(_unreceipted(ground, links), 0)
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
            *check_absence(about, holdings, keys, predicate.shard.uid, inventory),
            *check_tombstone(about, store, keys, predicate),
            *inventoried,
            check_completeness(about, predicate),
            *check_residuals(about, predicate),
            check_servers(about, predicate),
            check_times(about, predicate, inventory, before),
        )
        # An Incomplete receipt is followed by another of its shard, which is checked as well.
        yield from (_superseded(check) if again else check for check in checks)
    yield check_strays(STORE, holdings)


def _superseded(check: Check) -> Check:
    is_open = check.verdict is Verdict.NOT_CHECKABLE
    return check.model_copy(update={"superseded": True}) if is_open else check


def _live(ground: VerificationInput, reading: ChainReading, url: str) -> Iterator[Check]:
    store, keys, uid = ground.store, ground.keys, ground.soup_uid
    signed = [link.statement.predicate for link in reading.links if link.statement]
    yield from check_live(url, store, keys, uid, signed)
    yield check_server(url, store, keys, uid, reading.entries)
