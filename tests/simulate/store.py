"""The simulated store: names of artifacts with their lineage, no bytes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stockpot.api.chain import ChainHead
from stockpot.api.runspec import FormerRecords, KeptTrainings
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.unlearning.unlearned_records import (
    KEY_BYTES,
    UnlearnedList,
    UnlearnedLists,
    keyed_digest,
)

KEY = bytes(KEY_BYTES)


@dataclass
class Store:
    """Artifacts with their lineage, tombstones and receipts.

    A lineage has of each training both the shard's UID and the name of the one training, which a
    receipt of records is about.
    """

    artefacts: dict[str, frozenset[str]] = field(default_factory=dict)
    """Lineage of each artifact."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many records each training leaves out."""
    least: dict[str, int] = field(default_factory=dict)
    """How many records a shard's trainings leave out at least."""
    records: dict[str, dict[str, Digest]] = field(default_factory=dict)
    """The pictures of each training, by name of their record."""
    unlearned: dict[str, set[Digest]] = field(default_factory=dict)
    """The pictures that were unlearned, by target; the oldest first."""
    tombstones: set[str] = field(default_factory=set)
    receipts: list[tuple[str, bool]] = field(default_factory=list)
    """The chain: the UID of each receipt, and whether it is Complete."""
    strays: int = 0
    """Objects of unknown lineage."""
    is_away: bool = False
    """It does not answer: purge and sign runs fail."""

    def publish(self, name: str, uids: frozenset[str], *, is_cleared: bool = False) -> bool:
        """Write an artifact, unless a tombstone covers any of its lineage."""
        if uids & self.tombstones and not is_cleared:
            return False
        self.artefacts[name] = uids
        return True

    def purge(self, uid: str, former: FormerRecords | None = None) -> int:
        """Write the tombstone of a UID, and remove every artifact that has it in its lineage.

        Returns:
            How many artifacts were removed.
        """
        self.tombstones.add(uid)
        doomed = [name for name, lineage in self.artefacts.items() if uid in lineage]
        if former:
            self.least[former.shard] = max(former.left_out, self.least.get(former.shard, 0))
            folder = f"shards/{former.shard}/"
            trained = [name for name in self.artefacts if name.startswith(folder)]
            doomed = sorted(
                {*doomed, *(name for name in trained if self.is_outdated(name, former))}
            )
        uid_of_shard, names = shard_of(ShardUID(uid)), former.records if former else ()
        pictures = {
            picture
            for name in doomed
            if name.startswith(f"shards/{uid_of_shard}/")
            for picture in chosen(self.records[name], names)
        }
        if pictures:
            self.unlearned.setdefault(uid, set()).update(pictures)
        for name in doomed:
            del self.artefacts[name]
        return len(doomed)

    def pictures(self, uid: str, key: str) -> frozenset[Digest]:
        """Return the pictures of a training; none where it is gone."""
        place = f"shards/{uid}/{key}"
        return frozenset(self.records[place].values() if place in self.artefacts else ())

    def listed_pictures(self, uid: str, names: Collection[str]) -> frozenset[Digest]:
        """Return the pictures of a shard's trainings that are still there; of these names alone."""
        places = (name for name in self.artefacts if name.startswith(f"shards/{uid}/"))
        return frozenset(p for place in places for p in chosen(self.records[place], names))

    def unlearned_lists(self) -> UnlearnedLists:
        """Return the keyed digests of what was unlearned, as the real store has them."""
        return UnlearnedLists(
            KEY,
            tuple(
                UnlearnedList(uid, "", frozenset(keyed_digest(KEY, each) for each in pictures))
                for uid, pictures in self.unlearned.items()
            ),
            unread=0,
        )

    def collect(self, forgotten: Sequence[str], kept: Sequence[KeptTrainings]) -> int:
        """Remove resurrected artifacts of unlearned UIDs, and of records that left shards."""
        self.tombstones |= set(forgotten)
        doomed = {n for n, lineage in self.artefacts.items() if lineage & set(forgotten)}
        for trainings in kept:
            folder = f"shards/{trainings.shard}/"
            doomed |= {
                name
                for name in self.artefacts
                if name.startswith(folder) and self.is_outdated(name, trainings)
            }
        for name in doomed:
            del self.artefacts[name]
        return len(doomed)

    def is_outdated(self, name: str, still: FormerRecords | KeptTrainings) -> bool:
        """Whether a training was made with records that left its shard."""
        return self.left_out[name] < still.left_out

    def chain_head(self) -> ChainHead:
        """Return the head of the receipt chain."""
        count = len(self.receipts)
        digest = digest_of_json("receipt", count) if count else None
        return ChainHead(sequence=count, digest=digest, receipt=count)

    def restore(self, older: "Store") -> None:
        """Restore the store from a backup."""
        self.artefacts = dict(older.artefacts)
        self.tombstones, self.receipts = set(older.tombstones), list(older.receipts)
        self.unlearned = {uid: set(pictures) for uid, pictures in older.unlearned.items()}

    def completed(self) -> set[str]:
        """Return the UIDs that have a Complete receipt."""
        return {uid for uid, complete in self.receipts if complete}


def chosen(records: Mapping[str, Digest], names: Collection[str]) -> Iterator[Digest]:
    """Yield the pictures of these names, or all where there are none."""
    return (picture for name, picture in records.items() if not names or name in names)
