"""The records of what is about to be purged, and what is kept of them: a keyed digest of each."""

from collections.abc import Collection, Iterable

import structlog

from stockpot.api.runspec import PurgeRun
from stockpot.core.digests import Digest
from stockpot.store.keys import RECORD_LIST, Keys
from stockpot.store.port import AccessDenied, ObjectInfo, ObjectStore
from stockpot.store.record_list import normal_name, readable_records
from stockpot.unlearning.clock import now
from stockpot.unlearning.removal import folder_of
from stockpot.unlearning.unlearned_records import count_unlearned, keep_unlearned

log = structlog.get_logger()


def keep_records(
    store: ObjectStore, keys: Keys, spec: PurgeRun, tainted: Iterable[ObjectInfo]
) -> int | None:
    """Keep a keyed digest of each record that is about to be unlearned.

    A deletion goes on where the store refuses it, and where a list is damaged.

    Args:
        store: The store.
        keys: The store keys of the namespace.
        spec: The purge of a shard, or of the records that left one.
        tainted: The objects that are about to be removed, the record lists among them.

    Returns:
        How many digests are kept of this unlearning by now. None where there are no record lists,
        or none could be kept.

    Raises:
        Transient: The store fails.
    """
    shard = spec.shard
    assert shard is not None
    folders = sorted({folder_of(i.key) for i in tainted if i.key.endswith(f"/{RECORD_LIST}")})
    names = spec.former.records if spec.former else ()
    pictures: set[Digest] = set()
    for folder in folders:
        listed = listed_pictures(store, folder, names)
        if listed is None:
            log.warning("A list of records is damaged: what it names is not kept", folder=folder)
        pictures |= listed or set()
    try:
        if not pictures:
            return count_unlearned(store, keys, spec.soup.uid, shard.uid)
        return keep_unlearned(store, keys, spec.soup.uid, shard.uid, pictures, at=now())
    except AccessDenied as error:
        log.warning(
            "Records that come back will not be recognised: no list of them could be kept",
            shard=shard.uid,
            error=error.message,
            help="allow the identity that purges to read and write below "
            f"{keys.unlearned(spec.soup.uid)}",
        )
        return None


def listed_pictures(
    store: ObjectStore, folder_key: str, names: Collection[str] = ()
) -> frozenset[Digest] | None:
    """Return the pictures in the record list of an ingredient; None without a readable list.

    Args:
        store: The store.
        folder_key: The folder of the ingredient, ending in a slash.
        names: Names or digests of records whose pictures alone are meant; empty for all of them.

    Raises:
        Transient: The store fails.
    """
    wanted = {normal_name(name) for name in names}
    records = readable_records(store, folder_key)
    if records is None:
        return None
    return frozenset(each.picture for each in records if not wanted or each.names & wanted)
