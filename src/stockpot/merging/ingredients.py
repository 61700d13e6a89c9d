"""Opens ingredients in the store, and refuses those that are not what the recipe names.

Manifest and header are checked here. The digest of an ingredient's bytes is known when they have
been averaged, for they are hashed on the way; it is checked before anything is published.
"""

from dataclasses import dataclass

from stockpot.api.manifest import ArtefactKind
from stockpot.api.runspec import RecipePart
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import OpenCheckpoint, read_checkpoint
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import ByteSource, object_bytes
from stockpot.store.weights import canonical_header, header_bytes


@dataclass(frozen=True)
class OpenIngredient:
    """An ingredient that was opened, with its weight in the recipe."""

    checkpoint: OpenCheckpoint
    weight: int
    digest: str
    """The digest that the file must have."""

    @property
    def first_bytes(self) -> bytes:
        """The bytes of the file before its tensors."""
        return header_bytes(canonical_header(self.checkpoint.tensors))

    def require_digest(self, actual: Digest) -> None:
        """Refuse bytes with another digest than the recipe names.

        Raises:
            Refused: The digests differ (exit 46).
        """
        if actual != self.digest:
            raise refused(
                self.checkpoint.name,
                f"it was edited: its digest is {actual}, and the recipe names {self.digest}",
            )


def open_ingredient(
    store: ObjectStore, keys: Keys, part: RecipePart, base: Digest
) -> OpenIngredient:
    """Open an ingredient in the store.

    Raises:
        Refused: It is missing, has another shard, base or digest than the recipe says, was cut
            short, or is no canonical file of weights (exit 46).
    """
    folder_key = keys.ingredient(part.shard_uid, part.training_key)
    manifest = read_manifest(store, folder_key)
    if manifest is None or manifest.kind is not ArtefactKind.INGREDIENT:
        raise refused(folder_key, "it holds no ingredient")
    if {pair.shard for pair in manifest.lineage} != {part.shard_uid}:
        shards = ", ".join(sorted({pair.shard for pair in manifest.lineage})) or "no shard"
        raise refused(folder_key, f"its manifest says that it was made from {shards}")
    if manifest.digest != part.weights_digest:
        raise refused(
            folder_key,
            f"its manifest says {manifest.digest or 'that it is not finished'}, and the recipe "
            f"names {part.weights_digest}",
        )
    if manifest.base_digest != base:
        raise refused(
            folder_key,
            f"it was trained from the base {manifest.base_digest}, and the soup's is {base}",
        )
    source = object_bytes(store, folder_key + WEIGHTS)
    if source.size_bytes != manifest.size_bytes:
        raise refused(
            source.name,
            f"it was cut short or edited: it has {source.size_bytes} bytes, its manifest says "
            f"{manifest.size_bytes}",
        )
    return read_canonical(source, part.weight, part.weights_digest)


def read_canonical(source: ByteSource, weight: int, digest: str) -> OpenIngredient:
    """Read the header of a canonical file.

    Raises:
        Refused: It is no canonical file of weights (exit 46).
    """
    part = OpenIngredient(read_checkpoint(source.name, [source]), weight, digest)
    first = part.first_bytes
    if source.read(0, len(first)) != first:
        raise refused(
            source.name, "it is not in canonical form, so it was not written by a training"
        )
    return part


def refused(name: str, why: str) -> Refused:
    """Return the refusal of an ingredient."""
    return Refused(
        f"{name} is refused: {why}",
        help="restore it, or delete its folder in the store to have the shard trained again",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
