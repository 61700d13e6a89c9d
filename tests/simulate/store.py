"""What lies in the store of a kitchen: names and whose they are, no bytes."""

from dataclasses import dataclass, field


@dataclass
class Store:
    """For each artefact the shard UIDs of its lineage; tombstones; the chain of receipts."""

    artefacts: dict[str, frozenset[str]] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    receipts: list[tuple[str, bool]] = field(default_factory=list)
    """For each of the chain: of which shard, and whether it is Complete."""
    strays: int = 0
    """Objects of unknown lineage."""

    def publish(self, name: str, uids: frozenset[str], *, is_cleared: bool = False) -> bool:
        """Write an artefact, unless a tombstone stands for any of its lineage."""
        if uids & self.tombstones and not is_cleared:
            return False
        self.artefacts[name] = uids
        return True

    def purge(self, uid: str) -> int:
        """Remove all that a shard is in, behind its tombstone, and count it."""
        self.tombstones.add(uid)
        doomed = [name for name, uids in self.artefacts.items() if uid in uids]
        for name in doomed:
            del self.artefacts[name]
        return len(doomed)

    def completed(self) -> set[str]:
        """Shards of which the chain says that nothing is missing."""
        return {uid for uid, complete in self.receipts if complete}
