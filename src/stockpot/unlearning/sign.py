"""The verb `sign`: appends the receipts of unlearnings to a soup's chain, one after the other.

It signs what the store and the RunSpec say, after it has checked that they do not contradict each
other. It is idempotent: a shard has one Complete receipt in a chain, and before it an Incomplete
one for each time that something was missing. A receipt that is refused delays no other: the result
has those that were signed, and the next run is asked for the rest.
"""

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stockpot import __version__
from stockpot.api.results import SharedRecords, SignedReceipt, SignResult
from stockpot.api.runspec import ReceiptRequest, SignRun
from stockpot.api.server_reports import EndedReport
from stockpot.core.digests import PREFIX, Digest, digest_of_bytes
from stockpot.core.recipe import is_meant
from stockpot.errors import ExitCode, Refused, StockpotError, Transient, Waiting
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.keys import MANIFEST, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.unlearning.chain import Receipt, VerifiedChain, check_chain
from stockpot.unlearning.clock import now
from stockpot.unlearning.envelope import seal
from stockpot.unlearning.inventory import Inventory, read_inventory
from stockpot.unlearning.keys import load_previous_key, load_private_key
from stockpot.unlearning.residuals import name_residuals
from stockpot.unlearning.rotate import chain_to_continue
from stockpot.unlearning.statement import PurgeSummary, UnlearningPredicate, state
from stockpot.unlearning.tombstone import tombstoned_at
from stockpot.unlearning.unlearned_records import count_unlearned

MAX_TRIES = 20
NAMED_MISSING, MISSING_CHARACTERS, NAMED_SHARDS = 5, 256, 16
"""Limits on the missing confirmations, and on the shards in which records survive, that a result
names per receipt; the receipt has them all."""
LONGEST_BYTES = 4000
"""The longest result: a pod's termination message has 4,096 bytes at most."""
REVISION = re.compile(r"/revisions/([0-9a-f]{64})/")


def run(spec: SignRun, *, work: Path, progress: Progress, stop: threading.Event) -> SignResult:
    """Sign the requested receipts.

    Where the chain ends with another key, and that key is beside the signing key as
    `previous-key.pem`, it hands over to the signing key first.

    Returns:
        The receipts that were signed now or before: at least one.

    Raises:
        Refused: No receipt could be written. There is no signing key, one of another kind, or one
            that the chain does not end with (exit 49); the chain is broken (43); the successor was
            made with the shard (3).
        Waiting: The purge has not ended, or a server holds what it removed.
        Transient: The store fails, or other writers take the next place each time.
        StockpotError: It was interrupted (75).
    """
    del work
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    progress.begin("signing", total_steps=len(spec.receipts))
    key, previous = load_private_key(path := Path(spec.signing_key)), load_previous_key(path)
    signing = _ReceiptSigner(spec, store, keys, key, previous)
    signed: list[Receipt] = []
    failures: list[StockpotError] = []
    is_new = False
    for number, request in enumerate(spec.receipts, start=1):
        try:
            raise_if_stopping(stop, "Signing was interrupted before it wrote a receipt.")
            receipt, was_written = signing.sign(request)
        except StockpotError as error:
            failures.append(error)
            if error.exit_code is ExitCode.INTERRUPTED:
                break
        else:
            signed += [receipt] if receipt else []
            is_new = is_new or was_written
        progress.advance(number)
    if not signed and failures:
        raise failures[0]
    return _result(signed, reused=not is_new)


@dataclass(frozen=True)
class _ReceiptSigner:
    """Writes one run's receipts."""

    spec: SignRun
    store: ObjectStore
    keys: Keys
    key: Ed25519PrivateKey
    previous_key: Ed25519PrivateKey | None

    def sign(self, request: ReceiptRequest) -> tuple[Receipt | None, bool]:
        """Write one receipt, unless the chain has it already.

        Returns:
            The receipt, and whether it was written now. The receipt is None where the request is
            only for an existing one, and there is none.
        """
        spec, store, keys, key = self.spec, self.store, self.keys, self.key
        for _ in range(MAX_TRIES):
            chain = chain_to_continue(store, keys, spec.soup, key, self.previous_key)
            if chain is None:
                continue
            _require_recorded(spec, chain)
            if mine := [
                receipt for receipt in chain.receipts if _answers_request(receipt, request)
            ]:
                return mine[-1], False
            if request.is_only_looked_for:
                return None, False
            inventory = _require_purged(store, keys, request)
            _require_clean(spec, request, inventory)
            place = keys.receipt(spec.soup.uid, chain.last + 1)
            statement = state(_unlearning(spec, request, inventory, chain, store))
            data = seal(statement.canonical, key)
            # Read back: in some stores two writers both succeed, and the later one wins.
            if store.put_if_absent(place, data) and store.get(place) == data:
                written = check_chain(store, keys, spec.soup.uid, key.public_key())
                return next(receipt for receipt in written if receipt.sequence > chain.last), True
        raise Transient(
            f"other writers took the next place in the chain {MAX_TRIES} times",
            help="sign one receipt of a soup at a time",
        )


def _answers_request(receipt: Receipt, request: ReceiptRequest) -> bool:
    predicate = receipt.statement.predicate
    is_new = receipt.sequence > request.after or predicate.completeness == "Complete"
    return predicate.shard.uid == request.shard.uid and is_new


def _require_recorded(spec: SignRun, chain: VerifiedChain) -> None:
    """Refuse a chain that lacks its recorded head: the store was rolled back."""
    if (known := spec.chain) is None or known.digest is None:
        return
    if any(
        (receipt.sequence, receipt.digest) == (known.sequence, known.digest)
        for receipt in chain.receipts
    ):
        return
    raise Refused(
        f"the store lacks receipt {known.sequence} of soup {spec.soup.name}, {known.digest}, which "
        f"was recorded; its chain ends with number {chain.last}: the store was rolled back, or is "
        "another one",
        help=f"restore the files below {Keys(spec.soup.namespace).receipts(spec.soup.uid)} from a "
        "backup; nothing is signed onto a chain that lacks a receipt",
        exit_code=ExitCode.WRONG_DIGEST,
    )


def _require_purged(store: ObjectStore, keys: Keys, request: ReceiptRequest) -> Inventory:
    uid = request.shard.uid
    inventory = read_inventory(store, keys, uid)
    if store.head(keys.tombstone(uid)) is None:
        lacking = f"there is no tombstone at {keys.tombstone(uid)}"
    elif inventory is None:
        lacking = f"there is no inventory at {keys.inventory(uid)}"
    elif not inventory.complete:
        lacking = f"the purge has not ended: {keys.inventory(uid)} lists what is still to remove"
    else:
        return inventory
    raise Waiting(
        f"shard {uid} cannot have a receipt yet: {lacking}", help="run its purge to the end first"
    )


def _require_clean(spec: SignRun, request: ReceiptRequest, inventory: Inventory) -> None:
    """Refuse to sign a receipt that would contradict itself."""
    uid, successor = request.shard.uid, spec.successor
    if successor and any(is_meant(o.shard, o.training_key, uid) for o in successor.lineage):
        raise Refused(
            f"the successor {successor.recipe_digest} was made with shard {uid}, which the receipt "
            "would say is gone",
            help="promote a revision without the shard first",
        )
    removed = _recipes(item.key for item in inventory.items)
    for server in spec.servers:
        held = sorted(removed & set(server.holds))
        if held:
            raise Waiting(
                f"server {server.server} holds {', '.join(held)}, purged with shard {uid}",
                help="wait until the server has dropped it, and query the server again",
            )


def _recipes(keys: Iterable[str]) -> set[str]:
    return {PREFIX + match[1] for key in keys if (match := REVISION.search(key))}


def _unlearning(
    spec: SignRun,
    request: ReceiptRequest,
    inventory: Inventory,
    chain: VerifiedChain,
    store: ObjectStore,
) -> UnlearningPredicate:
    keys, uid = Keys(spec.soup.namespace), request.shard.uid
    stored = store.head(keys.inventory(uid))
    return UnlearningPredicate(
        soup=spec.soup,
        shard=request.shard,
        data_digest=request.data_digest,
        training_keys=request.training_keys,
        scope="Records" if request.former else "Shard",
        commitments=inventory.commitments,
        requested_at=request.requested_at,
        tombstoned_at=tombstoned_at(store, keys, uid),
        stored_at=stored.modified_at if stored else None,
        signed_at=now(),
        successor=spec.successor,
        successor_manifest=_manifest_digest(spec, store, keys),
        tainted=tuple(sorted(_recipes(item.key for item in inventory.items))),
        purge=PurgeSummary(
            objects=len(inventory.items),
            bytes=inventory.size_bytes,
            inventory_digest=inventory.digest,
            residuals=len(inventory.residuals),
        ),
        residuals=name_residuals(inventory, store.custody()),
        servers=spec.servers,
        ended=tuple(report for report in spec.ended if _is_since(report, request.requested_at)),
        missing=request.missing,
        survives_in=request.survives_in,
        kept_digests=count_unlearned(store, keys, spec.soup.uid, uid),
        finalizer_removed=request.finalizer_removed,
        sequence=chain.last + 1,
        previous=chain.head,
        completeness="Incomplete" if inventory.residuals or request.missing else "Complete",
        versions={"stockpot": __version__},
    )


def _is_since(report: EndedReport, requested_at: str) -> bool:
    """Whether a server ended after the unlearning was requested; True where the time is unknown."""
    if not (report.seen_at and requested_at):
        return True
    return datetime.fromisoformat(report.seen_at) >= datetime.fromisoformat(requested_at)


def _manifest_digest(spec: SignRun, store: ObjectStore, keys: Keys) -> Digest | None:
    if spec.successor is None:
        return None
    data = store.get(keys.revision(spec.soup.uid, spec.successor.recipe_digest) + MANIFEST)
    return digest_of_bytes(data) if data is not None else None


def _result(receipts: Sequence[Receipt], *, reused: bool) -> SignResult:
    """Report what was signed, within the size of a pod's termination message."""
    missing = dict.fromkeys(
        text for receipt in receipts for text in receipt.statement.predicate.missing[:NAMED_MISSING]
    )
    named = [text[:MISSING_CHARACTERS] for text in missing]
    purges = [receipt.statement.predicate.purge for receipt in receipts]
    named_shards = NAMED_SHARDS
    while True:
        places = {text: place for place, text in enumerate(list(missing)[: len(named)])}
        result = SignResult(
            reused=reused,
            receipts=_signed(receipts, places, named_shards),
            purged_objects=sum(purge.objects for purge in purges),
            purged_bytes=sum(purge.bytes for purge in purges),
            missing=tuple(named),
        )
        text = result.message().model_dump_json(by_alias=True, exclude_none=True)
        if not (named or named_shards) or len(text.encode()) < LONGEST_BYTES:
            return result
        if named_shards:
            named_shards -= 1
        else:
            named.pop()


def _signed(
    receipts: Sequence[Receipt], places: Mapping[str, int], named_shards: int
) -> tuple[SignedReceipt, ...]:
    sequences = {receipt.sequence for receipt in receipts}
    return tuple(
        SignedReceipt(
            shard=unlearning.shard.uid,
            sequence=receipt.sequence,
            digest=receipt.digest,
            previous=None if receipt.sequence - 1 in sequences else unlearning.previous,
            signed_at=unlearning.signed_at,
            residuals=unlearning.purge.residuals,
            missing=len(unlearning.missing),
            missing_named=tuple(places[text] for text in unlearning.missing if text in places),
            kept_digests=unlearning.kept_digests,
            survives_in=tuple(
                SharedRecords(shard=each.shard, records=each.records)
                for each in sorted(unlearning.survives_in, key=lambda each: -each.records)
            )[:named_shards],
            survives_in_count=len(unlearning.survives_in),
        )
        for receipt in receipts
        for unlearning in (receipt.statement.predicate,)
    )
