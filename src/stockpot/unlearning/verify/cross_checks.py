"""Checks that the chain is the one that others have seen: anchors, servers and revisions.

An anchor, a server that reads the same store, and a revision that was made after a receipt each
name a head. A head that the chain lacks reveals that the chain was cut off, rolled back or forked,
even by the owner of the key.
"""

import json
import time
from collections.abc import Iterator, Sequence

import urllib3
from urllib3.exceptions import HTTPError

from stockpot.api.chain import ChainHead
from stockpot.core.digests import digest_of_bytes
from stockpot.store.keys import MANIFEST, Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.anchors import Anchor, contradiction
from stockpot.unlearning.chain import Link
from stockpot.unlearning.verify.chain_head import CHAIN
from stockpot.unlearning.verify.store_listing import StoreListing
from stockpot.unlearning.verify.verdict import Check, attested, failed, proven, unknown

TIMEOUT_S = 20.0
RETRY_S = 1.5
"""A server's head may be a second old; after this time it has read the store again."""


def check_anchor(anchor: Anchor, namespace: str, soup_uid: str, entries: Sequence[Link]) -> Check:
    """Check that the chain still has every head that was anchored."""
    kept = anchor.read(namespace, soup_uid)
    claim = "it is complete up to the last head that was anchored"
    if why := contradiction(kept, [(entry.sequence, str(entry.digest)) for entry in entries]):
        return failed(CHAIN, claim, why)
    torn = f"{kept.unreadable} lines of the anchor cannot be read" if kept.unreadable else ""
    if not kept.heads or torn:
        return unknown(CHAIN, claim, torn or "no head of it was anchored there yet")
    last = max(kept.heads, key=lambda head: head.sequence)
    later = sum(1 for entry in entries if entry.sequence > last.sequence)
    more = f"; {later} came after it" if later else ""
    return proven(CHAIN, claim, f"number {last.sequence}, anchored {last.at}{more}")


def check_manifests(listing: StoreListing, folder: str, entries: Sequence[Link]) -> Iterator[Check]:
    """Check that the chain has every head that a revision names; yields nothing if none names one.

    Args:
        listing: Everything in the store.
        folder: The soup's folder in the store.
        entries: The entries of its chain.
    """
    there = {(link.sequence, link.digest) for link in entries}
    claim = "it has every entry that a revision in the store was made after"
    naming, unknown_to_it = 0, []
    for info, manifest in listing.objects:
        is_ours = info.key.startswith(folder) and info.key.endswith(f"/{MANIFEST}")
        head = manifest.chain if manifest and is_ours else None
        if head is not None and head.digest and not info.is_delete_marker:
            naming += 1
            if (head.sequence, head.digest) not in there:
                unknown_to_it.append(f"{info.key} was made after {head}")
    if unknown_to_it:
        why = f"it was cut off, rolled back or forked: {unknown_to_it[0]}"
        yield failed(CHAIN, claim, why)
    elif naming:
        yield proven(CHAIN, claim, f"{naming} of them name one")


def check_server(
    url: str, store: ObjectStore, keys: Keys, soup_uid: str, entries: Sequence[Link]
) -> Check:
    """Check that a server sees the same chain. It is queried after the chain was read here."""
    about, claim = f"the server at {url}", "it sees the same receipts"
    last = entries[-1].sequence if entries else 0
    try:
        head = _ask(url)
        if head.sequence < last:
            time.sleep(RETRY_S)
            head = _ask(url)
    except (HTTPError, ValueError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return unknown(about, claim, f"it gives no answer with a head of the chain: {why}")
    if head.sequence < last:
        what = f"number {head.sequence}" if head.sequence else "no receipt at all"
        why = f"it sees {what} as the last, and the chain has {last}: an older store, or another"
        return failed(about, claim, why)
    there = {link.sequence: link.digest for link in entries}
    if head.sequence > last:
        # It may have been signed while this check ran.
        data = store.get(keys.receipt(soup_uid, head.sequence))
        digest_here = digest_of_bytes(data) if data is not None else None
        if digest_here is None:
            why = f"it has seen {head}, and that is not in this store: cut off, or another store"
            return failed(about, claim, why)
    else:
        digest_here = there.get(head.sequence)
    if digest_here != head.digest:
        why = f"number {head.sequence} is {head.digest} there and {digest_here} here: forked"
        return failed(about, claim, why)
    return attested(about, claim, f"it says that they end with {head}")


def _ask(url: str) -> ChainHead:
    answer = urllib3.request("GET", f"{url.rstrip('/')}/v1/chain", timeout=TIMEOUT_S, retries=False)
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status}")
    try:
        body = dict(json.loads(answer.data))
        body.pop("soup", None)
        return ChainHead.model_validate(body)
    except (ValueError, TypeError) as error:
        raise ValueError("its answer is not the head of a chain") from error
