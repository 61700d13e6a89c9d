"""Lists all objects in a namespace of the store, each with the manifest that covers it."""

from dataclasses import dataclass

from stockpot.api.manifest import Manifest
from stockpot.errors import Transient
from stockpot.store.artefacts import with_manifests
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.unlearning.removal import learnt_objects


@dataclass(frozen=True)
class StoreListing:
    """A full listing of one namespace."""

    objects: tuple[tuple[ObjectInfo, Manifest | None], ...]
    """All objects except receipts, tombstones and inventories; None where none has a manifest."""
    versions_error: str = ""
    """Why older versions and unfinished uploads could not be listed; empty where they are."""

    @property
    def unaccounted(self) -> tuple[ObjectInfo, ...]:
        """The objects under no manifest."""
        return tuple(
            info for info, manifest in self.objects if manifest is None and _has_bytes(info)
        )


def list_store(store: ObjectStore, namespace: str) -> StoreListing:
    """List a namespace with all versions, or without old versions where the store denies that.

    Raises:
        Transient: The store cannot be listed at all.
    """
    root, versions_error = f"{namespace}/", ""
    try:
        infos = list(store.list_versions(root))
    except Transient as error:
        versions_error = error.message
        infos = list(store.list(root))
    return StoreListing(tuple(with_manifests(store, learnt_objects(infos))), versions_error)


def _has_bytes(info: ObjectInfo) -> bool:
    # A delete marker has no content.
    return not info.is_delete_marker
