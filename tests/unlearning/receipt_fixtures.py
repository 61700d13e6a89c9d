"""A store in which two soups were made from three shards, for tests of forgetting one of them."""

from collections.abc import Iterable
from pathlib import Path

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.runspec import ObjectRef, PurgeRun, ReceiptRequest, RevisionRef, SignRun, StoreRef
from stockpot.api.server_reports import HeldReport
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.store.artefacts import begin, publish
from stockpot.store.folder import FolderStore
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.port import ObjectStore

KEYS = Keys("ml")
SOUP = ObjectRef(namespace="ml", name="emoji", uid="soup-1")
DOGS = ObjectRef(namespace="ml", name="dogs", uid="uid-dogs")
CATS = ObjectRef(namespace="ml", name="cats", uid="uid-cats")


def key_of(shard: str) -> Digest:
    return digest_of_bytes(f"training of {shard}".encode())


def recipe_of(*shards: str) -> Digest:
    return digest_of_bytes(" and ".join(shards).encode())


def lineage(*shards: str) -> tuple[LineagePair, ...]:
    return tuple(LineagePair(shard=shard, training_key=key_of(shard)) for shard in shards)


def a_filled_store(root: Path, work: Path) -> FolderStore:
    """Fill a store in a folder."""
    store = FolderStore(root)
    fill(store, work)
    return store


def fill(store: ObjectStore, work: Path) -> None:
    """Write shards cats, dogs, bees; soups of cats+dogs and cats; and another soup of dogs+bees."""
    work.mkdir(parents=True, exist_ok=True)
    for shard in ("uid-cats", "uid-dogs", "uid-bees"):
        folder = KEYS.ingredient(shard, key_of(shard))
        lay(store, folder, ArtefactKind.INGREDIENT, lineage(shard), work)
        run = KEYS.training_run(shard, recipe_of("request"))
        begin(store, run, Manifest(kind=ArtefactKind.TRAINING, lineage=lineage(shard)))
        store.put(f"{run}checkpoints/step-50/state", b"a state of " + shard.encode())
    for soup, shards in (
        ("soup-1", ("uid-cats", "uid-dogs")),
        ("soup-1", ("uid-cats",)),
        ("soup-2", ("uid-dogs", "uid-bees")),
    ):
        revision = KEYS.revision(soup, recipe_of(*shards))
        lay(store, revision, ArtefactKind.REVISION, lineage(*shards), work)
        evaluation = KEYS.evaluation(soup, recipe_of(*shards))
        lay(store, evaluation, ArtefactKind.EVALUATION, lineage(*shards), work)
    store.put(f"{KEYS.receipts('soup-3')}00000001.dsse.json", b"of another soup")


def lay(
    store: ObjectStore,
    folder: str,
    kind: ArtefactKind,
    made_from: tuple[LineagePair, ...],
    work: Path,
) -> None:
    data = f"what lies in {folder}".encode()
    name = "evaluation.json" if kind is ArtefactKind.EVALUATION else WEIGHTS
    path = work / "laid"
    path.write_bytes(data)
    weights = name == WEIGHTS
    manifest = Manifest(
        kind=kind,
        lineage=made_from,
        digest=digest_of_bytes(data) if weights else None,
        size_bytes=len(data) if weights else 0,
    )
    begin(store, folder, manifest)
    publish(store, folder, {name: path}, manifest)


def a_purge(root: Path, shard: ObjectRef = DOGS) -> PurgeRun:
    return PurgeRun(name="purge-1", store=StoreRef(url=root.as_uri()), soup=SOUP, shard=shard)


def a_request(shard: ObjectRef = DOGS, **fields: object) -> ReceiptRequest:
    """Request one receipt of a shard."""
    request = ReceiptRequest(
        shard=shard,
        data_digest=digest_of_bytes(b"pictures of dogs"),
        training_keys=(key_of(shard.uid),),
        requested_at="2026-11-22T12:00:00Z",
    )
    return request.model_copy(update=fields)


def asking_for(spec: SignRun, **fields: object) -> SignRun:
    """Edit the request of a sign run for one receipt."""
    [request] = spec.receipts
    return spec.model_copy(update={"receipts": (request.model_copy(update=fields),)})


def a_signing(
    root: Path, key: Path, shard: ObjectRef = DOGS, servers: Iterable[HeldReport] = ()
) -> SignRun:
    survivors = RevisionRef(
        recipe_digest=recipe_of("uid-cats"),
        weights_digest=digest_of_bytes(b"weights of cats"),
        lineage=lineage("uid-cats"),
    )
    return SignRun(
        name="sign-1",
        store=StoreRef(url=root.as_uri()),
        soup=SOUP,
        receipts=(a_request(shard),),
        successor=survivors,
        servers=tuple(servers),
        signing_key=str(key),
    )


def keys_below(store: ObjectStore, prefix: str) -> list[str]:
    return [info.key for info in store.list_versions(prefix)]
