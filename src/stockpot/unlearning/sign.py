"""The verb: write the receipt of an unlearning, as the next of the soup's chain.

It signs what the store and the RunSpec say, after it looked that they do not contradict each
other. Asked again it is found, not written twice: a shard has one Complete receipt in a chain, and
before it an Incomplete one for each time that something was missing.
"""

import re
import threading
from collections.abc import Iterable
from pathlib import Path

from stockpot import __version__
from stockpot.api.runspec import RunResult, SignRun
from stockpot.core.digests import PREFIX, Digest, digest_of_bytes
from stockpot.core.recipe import is_meant
from stockpot.errors import ExitCode, Refused, StockpotError, Transient, Waiting
from stockpot.metrics.progress import Progress
from stockpot.store.keys import MANIFEST, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.unlearning.chain import Chain, Receipt, check_chain
from stockpot.unlearning.clock import now
from stockpot.unlearning.envelope import seal
from stockpot.unlearning.inventory import Inventory, read_inventory
from stockpot.unlearning.keys import load_previous_key, load_private_key
from stockpot.unlearning.residuals import name_residuals
from stockpot.unlearning.rotate import chain_to_go_on
from stockpot.unlearning.statement import Purged, Unlearning, state
from stockpot.unlearning.tombstone import tombstoned_at

MOST_TRIES = 20
NAMED_MISSING = 5
"""Of what a result names: it is 4,096 bytes at most, and the receipt has them all."""
REVISION = re.compile(r"/revisions/([0-9a-f]{64})/")


def run(spec: SignRun, *, work: Path, progress: Progress, stop: threading.Event) -> RunResult:
    """Sign one receipt.

    Where the chain ends with another key, and that one lies beside the signing key as
    `previous-key.pem`, the one hands over to the other first.

    Raises:
        Refused: There is no signing key, one of another kind, or one that the chain does not end
            with (exit 49); the chain is broken (43); the successor was made with the shard (3).
        Waiting: The purge has not ended, or a server holds what it removed.
        Transient: The store fails, or others sign without end.
        StockpotError: It was asked to end (75); nothing was written.
    """
    del work
    store, keys = open_store(spec.store), Keys(spec.soup.namespace)
    progress.begin("signing")
    key, previous = load_private_key(path := Path(spec.signing_key)), load_previous_key(path)
    for _ in range(MOST_TRIES):
        chain = chain_to_go_on(store, keys, spec.soup, key, previous)
        if chain is None:
            continue
        _require_recorded(spec, chain)
        if mine := [one for one in chain.receipts if _is_asked_for(one, spec)]:
            return _result(mine[-1], reused=True)
        inventory = _require_purged(store, keys, spec)
        _require_clean(spec, inventory)
        if stop.is_set():
            raise StockpotError(
                "Signing ended when asked to; nothing was written.",
                help="Run it again.",
                exit_code=ExitCode.INTERRUPTED,
            )
        place = keys.receipt(spec.soup.uid, chain.last + 1)
        data = seal(state(_unlearning(spec, inventory, chain, store)).canonical, key)
        # Looked at again, for there are stores where two writers both win; the later one did.
        if store.put_if_absent(place, data) and store.get(place) == data:
            written = check_chain(store, keys, spec.soup.uid, key.public_key())
            return _result(next(o for o in written if o.sequence > chain.last), reused=False)
    raise Transient(
        f"others took the next place in the chain {MOST_TRIES} times",
        help="sign one receipt of a soup at a time",
    )


def _is_asked_for(one: Receipt, spec: SignRun) -> bool:
    said = one.statement.predicate
    is_new = one.sequence > spec.after or said.completeness == "Complete"
    return said.shard.uid == spec.shard.uid and is_new


def _require_recorded(spec: SignRun, chain: Chain) -> None:
    """Refuse to go on with a chain that lacks what was recorded of it: it was set back."""
    if (known := spec.chain) is None or known.digest is None:
        return
    if any((one.sequence, one.digest) == (known.sequence, known.digest) for one in chain.receipts):
        return
    raise Refused(
        f"the store lacks receipt {known.sequence} of soup {spec.soup.name}, {known.digest}, which "
        f"was recorded; its chain ends with number {chain.last}: the store was set back, or is "
        "another one",
        help=f"bring the files below {Keys(spec.soup.namespace).receipts(spec.soup.uid)} back from "
        "a backup; nothing is signed onto a chain that lacks one",
        exit_code=ExitCode.WRONG_DIGEST,
    )


def _require_purged(store: ObjectStore, keys: Keys, spec: SignRun) -> Inventory:
    uid = spec.shard.uid
    inventory = read_inventory(store, keys, uid)
    if store.head(keys.tombstone(uid)) is None:
        lacking = f"there is no tombstone at {keys.tombstone(uid)}"
    elif inventory is None:
        lacking = f"there is no inventory at {keys.inventory(uid)}"
    elif not inventory.complete:
        lacking = f"the purge has not ended: {keys.inventory(uid)} lists what it had still to do"
    else:
        return inventory
    raise Waiting(
        f"shard {uid} cannot have a receipt yet: {lacking}", help="run its purge to the end first"
    )


def _require_clean(spec: SignRun, inventory: Inventory) -> None:
    """Refuse to sign what the receipt itself would contradict."""
    uid, successor = spec.shard.uid, spec.successor
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
                help="wait until it has dropped it, and ask it again",
            )


def _recipes(keys: Iterable[str]) -> set[str]:
    return {PREFIX + found[1] for key in keys if (found := REVISION.search(key))}


def _unlearning(
    spec: SignRun, inventory: Inventory, chain: Chain, store: ObjectStore
) -> Unlearning:
    keys, uid = Keys(spec.soup.namespace), spec.shard.uid
    stored = store.head(keys.inventory(uid))
    return Unlearning(
        soup=spec.soup,
        shard=spec.shard,
        data_digest=spec.data_digest,
        training_keys=spec.training_keys,
        scope="Records" if spec.former else "Shard",
        commitments=inventory.commitments,
        requested_at=spec.requested_at,
        tombstoned_at=tombstoned_at(store, keys, uid),
        stored_at=stored.modified_at if stored else None,
        signed_at=now(),
        successor=spec.successor,
        successor_manifest=_manifest_digest(spec, store, keys),
        tainted=tuple(sorted(_recipes(item.key for item in inventory.items))),
        purge=Purged(
            objects=len(inventory.items),
            bytes=inventory.size_bytes,
            inventory_digest=inventory.digest,
            residuals=len(inventory.residuals),
        ),
        residuals=name_residuals(inventory, store.custody()),
        servers=spec.servers,
        ended=spec.ended,
        missing=spec.missing,
        finalizer_removed=spec.finalizer_removed,
        sequence=chain.last + 1,
        previous=chain.head,
        completeness="Incomplete" if inventory.residuals or spec.missing else "Complete",
        versions={"stockpot": __version__},
    )


def _manifest_digest(spec: SignRun, store: ObjectStore, keys: Keys) -> Digest | None:
    if spec.successor is None:
        return None
    data = store.get(keys.revision(spec.soup.uid, spec.successor.recipe_digest) + MANIFEST)
    return digest_of_bytes(data) if data is not None else None


def _result(receipt: Receipt, *, reused: bool) -> RunResult:
    unlearning = receipt.statement.predicate
    said = unlearning.purge
    return RunResult(
        reused=reused,
        receipt_sequence=receipt.sequence,
        receipt_digest=receipt.digest,
        signed_at=unlearning.signed_at,
        purged_objects=said.objects,
        purged_bytes=said.bytes,
        inventory_digest=said.inventory_digest,
        missing=unlearning.missing[:NAMED_MISSING],
        figures={"residuals": str(said.residuals), "missing": str(len(unlearning.missing))},
    )
