"""Compares a receipt's claims about the purge, times and servers with the store's records.

Where they agree, the claim is attested by the signer; where they differ, something was edited.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise

from stockpot.api.server_reports import Ending, HeldReport
from stockpot.core.recipe import is_meant
from stockpot.errors import Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.inventory import Inventory, read_inventory
from stockpot.unlearning.residuals import Certainty
from stockpot.unlearning.statement import UnlearningPredicate
from stockpot.unlearning.tombstone import read_tombstone
from stockpot.unlearning.verify.verdict import Check, attested, failed, proven, unknown

MAX_NAMED = 5
"""How many servers a check names; the receipt has them all."""
HOW_ENDED: Mapping[Ending, str] = {
    Ending.KUBELET: "its kubelet confirmed it",
    Ending.OUT_OF_SERVICE: "its node was tainted as shut down",
    Ending.NODE_HEARD: "its node has been heard since its pod was gone",
    Ending.PROCESS: "its process was gone",
}
MAX_CLOCK_SKEW = timedelta(seconds=300)
"""How far the clocks of two machines may differ before times count as contradictory."""


def check_tombstone(
    about: str, store: ObjectStore, keys: Keys, predicate: UnlearningPredicate
) -> Iterator[Check]:
    """Check that the shard has a tombstone, and that it is the signed one."""
    claim = "a tombstone keeps it out"
    key = keys.tombstone(predicate.shard.uid)
    mark = read_tombstone(store, keys, predicate.shard.uid)
    if store.head(key) is None:
        yield failed(about, claim, f"there is none at {key}, so a late writer would not be refused")
    elif mark is None or mark.shard != predicate.shard.uid or mark.soup != predicate.soup.uid:
        yield failed(about, claim, f"{key} was edited: it is not of this shard and soup")
    elif predicate.tombstoned_at not in (None, mark.at):
        why = f"{key} was edited: it says {mark.at}, and {predicate.tombstoned_at} was signed"
        yield failed(about, claim, why)
    else:
        yield proven(about, claim)


def check_inventory(
    about: str,
    store: ObjectStore,
    keys: Keys,
    predicate: UnlearningPredicate,
    later: Collection[str],
) -> tuple[Inventory | None, tuple[Check, ...]]:
    """Read the purge's inventory, and check that it is the signed one.

    Args:
        about: The receipt's name in the report.
        store: The store to read.
        keys: The store keys of the namespace.
        predicate: The receipt's predicate.
        later: The digests of inventories that later receipts of the same shard sign.
    """
    claim = "the inventory of the purge is the one that was signed"
    key, signed = keys.inventory(predicate.shard.uid), predicate.purge
    try:
        inventory = read_inventory(store, keys, predicate.shard.uid)
    except Refused as error:
        return None, (failed(about, claim, error.message),)
    if inventory is None:
        return None, (unknown(about, claim, f"there is none at {key}"),)
    if inventory.digest != signed.inventory_digest:
        is_later = inventory.sweeps and _is_after(inventory.sweeps[-1].at, predicate.signed_at)
        if is_later or inventory.digest in later:
            why = "a later purge added to it, so it no longer has the bytes that were signed"
            return inventory, (unknown(about, claim, why),)
        why = (
            f"{key} was edited: it is {inventory.digest}, and {signed.inventory_digest} was signed"
        )
        return inventory, (failed(about, claim, why),)
    checks = [proven(about, claim)]
    claim = "everything of it was removed"
    figures = (len(inventory.items), inventory.size_bytes, len(inventory.residuals))
    if not inventory.complete or figures != (signed.objects, signed.bytes, signed.residuals):
        why = "the receipt's figures are not those of the inventory that it names"
        checks.append(failed(about, claim, why))
    else:
        why = f"the purge says so: {signed.objects} objects, {signed.bytes:,} bytes"
        checks.append(attested(about, claim, why))
    return inventory, tuple(checks)


def check_completeness(about: str, predicate: UnlearningPredicate) -> Check:
    """Check whether the receipt reports that something is missing."""
    claim, left = "the receipt says that nothing is missing", predicate.purge.residuals
    admitted = [f"{left} objects were left"] if left else []
    admitted += [f"not confirmed: {item}" for item in predicate.missing]
    why = "; ".join(admitted)
    if predicate.completeness == "Complete":
        if admitted:
            return failed(about, claim, f"it is Complete, and says as well: {why}")
        return attested(about, claim, "it is Complete")
    return unknown(about, claim, f"it is Incomplete: {why or 'it gives no reason'}")


def check_residuals(about: str, predicate: UnlearningPredicate) -> Iterator[Check]:
    """Show the residuals that the receipt names; yields nothing if it names none."""
    claim = "it names what may be left elsewhere"
    words = {Certainty.DETECTED: "found", Certainty.UNSEEN: "not seen", Certainty.ALWAYS: "always"}
    named = {
        word: ", ".join(
            residual.what for residual in predicate.residuals if residual.certainty is certainty
        )
        for certainty, word in words.items()
    }
    if predicate.residuals:
        yield attested(about, claim, "; ".join(f"{word}: {it}" for word, it in named.items() if it))


def check_times(
    about: str,
    predicate: UnlearningPredicate,
    inventory: Inventory | None,
    before: UnlearningPredicate | None,
) -> Check:
    """Check that the times of several clocks are in order."""
    claim = "it was done when it says"
    sweeps = inventory.sweeps if inventory else ()
    swept = [("swept", sweeps[0].at)] if sweeps else []
    stages = [
        *([("the receipt before it signed", before.signed_at)] if before else []),
        ("requested", predicate.requested_at),
        ("tombstoned", predicate.tombstoned_at or ""),
        *swept,
        ("stored", predicate.stored_at or ""),
        ("signed", predicate.signed_at),
    ]
    # A deletion may be requested before the receipt of an earlier one is signed.
    order = [stages[1:], [stages[0], stages[-1]]] if before else [stages]
    try:
        for run in order:
            known = [(what, _time(at), at) for what, at in run if at]
            for (first, early, _), (then, late, said_at) in pairwise(known):
                if early - late > MAX_CLOCK_SKEW:
                    why = f"{then} at {said_at}, which is before it was {first}"
                    return failed(about, claim, f"the times contradict each other: {why}")
    except ValueError as error:
        return failed(about, claim, str(error))
    clocks = " → ".join(f"{what} {at}" for what, at in stages[bool(before) :] if at)
    return attested(about, claim, clocks)


def check_servers(about: str, predicate: UnlearningPredicate) -> Check:
    """Check that no server reported to hold what was removed."""
    claim = "no server held anything of it after the purge"
    tainted = set(predicate.tainted)
    for server in predicate.servers:
        held = sorted(tainted & set(server.holds))
        if held:
            why = f"the receipt itself says that {server.server} held {held[0]}, which was removed"
            is_open = predicate.completeness != "Complete"
            return unknown(about, claim, why) if is_open else failed(about, claim, why)
        if any(
            is_meant(pair.shard, pair.training_key, predicate.shard.uid) for pair in server.beside
        ):
            why = f"the receipt itself says that {server.server} held what was made with it"
            is_open = predicate.completeness != "Complete"
            return unknown(about, claim, why) if is_open else failed(about, claim, why)
    ended = "; ".join(
        f"{report.server} has ended ({HOW_ENDED[report.how]})"
        for report in predicate.ended[:MAX_NAMED]
    )
    if not predicate.servers and not ended:
        return unknown(about, claim, "the receipt names no server that was queried")
    answered = ", ".join(_answered(server) for server in predicate.servers[:MAX_NAMED])
    more = sum(max(0, len(those) - MAX_NAMED) for those in (predicate.servers, predicate.ended))
    why = "; ".join(filter(None, (f"the signer asked {answered}" if answered else "", ended)))
    return attested(about, claim, why + (f"; and {more} more" if more > 0 else ""))


def _answered(server: HeldReport) -> str:
    """Return a server's name, and the beginning of the nonce that it answered."""
    return f"{server.server} (nonce {server.nonce[:8]}…)" if server.nonce else server.server


def _is_after(time: str, other: str) -> bool:
    try:
        return _time(time) > _time(other)
    except ValueError:
        return False


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} is not a valid time: it has no time zone")
    return time
