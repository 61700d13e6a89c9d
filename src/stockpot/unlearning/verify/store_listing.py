"""Everything in a namespace of the store, each thing with its lineage. Looking only."""

from dataclasses import dataclass

from stockpot.api.manifest import Manifest
from stockpot.errors import Transient
from stockpot.store.artefacts import with_manifests
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.unlearning.removal import learnt_in


@dataclass(frozen=True)
class StoreListing:
    """One full listing."""

    things: tuple[tuple[ObjectInfo, Manifest | None], ...]
    """But for the records; None where the lineage is unknown."""
    blind: str = ""
    """Why older versions and unfinished uploads were not listed; empty where they were."""

    @property
    def strays(self) -> tuple[ObjectInfo, ...]:
        """What lies under no manifest."""
        return tuple(
            info for info, manifest in self.things if manifest is None and _has_bytes(info)
        )


def list_store(store: ObjectStore, namespace: str) -> StoreListing:
    """List a namespace with all versions; without, where the store refuses to show them.

    Raises:
        Transient: The store cannot be listed at all.
    """
    root, blind = f"{namespace}/", ""
    try:
        infos = list(store.list_versions(root))
    except Transient as error:
        blind = error.message
        infos = list(store.list(root))
    return StoreListing(tuple(with_manifests(store, learnt_in(infos))), blind)


def _has_bytes(info: ObjectInfo) -> bool:
    # A marker says that something was deleted; it holds nothing.
    return not info.is_delete_marker
