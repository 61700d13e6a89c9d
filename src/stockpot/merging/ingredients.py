"""Ingredients, opened in the store: each the one that the recipe names, or refused by name.

What its manifest and its header say is looked at here. That its bytes are the ones that were named
is known when they have been averaged, for they are hashed on the way: before anything is published.
"""

from dataclasses import dataclass

from stockpot.api.manifest import ArtefactKind
from stockpot.api.runspec import RecipePart
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import Checkpoint, of_sources
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import ByteSource, object_bytes
from stockpot.store.weights import canonical_header, header_bytes


@dataclass(frozen=True)
class Part:
    """An ingredient under way."""

    checkpoint: Checkpoint
    weight: int
    digest: str
    """What the file must turn out to be."""

    @property
    def first_bytes(self) -> bytes:
        """What stands in the file before its tensors."""
        return header_bytes(canonical_header(self.checkpoint.tensors))

    def require_digest(self, found: Digest) -> None:
        """Refuse other bytes than were named.

        Raises:
            Refused: They are not (exit 46).
        """
        if found != self.digest:
            raise refused(
                self.checkpoint.name, f"it was edited: it is {found}, and {self.digest} was named"
            )


def open_part(store: ObjectStore, keys: Keys, part: RecipePart, base: Digest) -> Part:
    """Find an ingredient in the store.

    Raises:
        Refused: It is not there, is of another shard, base or digest than the recipe says, was cut
            short, or is no canonical file of weights (exit 46).
    """
    folder_key = keys.ingredient(part.shard_uid, part.training_key)
    manifest = read_manifest(store, folder_key)
    if manifest is None or manifest.kind is not ArtefactKind.INGREDIENT:
        raise refused(folder_key, "no ingredient is there")
    if {pair.shard for pair in manifest.lineage} != {part.shard_uid}:
        shards = ", ".join(sorted({pair.shard for pair in manifest.lineage})) or "nobody knows what"
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
    return of_canonical(source, part.weight, part.weights_digest)


def of_canonical(source: ByteSource, weight: int, digest: str) -> Part:
    """Read the header of a canonical file.

    Raises:
        Refused: It is no canonical file of weights (exit 46).
    """
    part = Part(of_sources(source.name, [source]), weight, digest)
    first = part.first_bytes
    if source.read(0, len(first)) != first:
        raise refused(
            source.name, "it is not in canonical form, so it was not written by a training"
        )
    return part


def refused(name: str, why: str) -> Refused:
    """Refuse an ingredient, in the one way in which all of them are refused."""
    return Refused(
        f"{name} is refused: {why}",
        help="restore it, or delete its folder in the store to have the shard trained again",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
