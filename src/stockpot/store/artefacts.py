"""Artefacts in the store: folders whose manifest records the lineage of everything in them.

They are written in two phases, so that no object ever lies in the store without a lineage:

    begin    manifest.json without a digest     the lineage is recorded, nothing else is there
    publish  the files, then manifest.json      the artefact is complete only now
    finish   manifest.json                      as publish, if the file was written straight there

A write that was interrupted is begun again; its first manifest covers the files that it left.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.core.digests import PREFIX
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.atomic import appearing
from stockpot.store.keys import MANIFEST, SUMS, WEIGHTS
from stockpot.store.parallel_reads import read_each
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.store.ranges import blocks, object_bytes

EVALUATION = "evaluation.json"
FETCH_BYTES = 8 << 20
"""The size of one request to the store."""
SHALLOWEST = 3
"""The least depth of a manifest in the store: below namespace, kind and UID."""


def begin(store: ObjectStore, folder_key: str, manifest: Manifest) -> None:
    """Record a folder's lineage before anything is written to it; the artefact is then incomplete.

    Args:
        store: The store.
        folder_key: The folder of the artefact, ending in a slash.
        manifest: Its kind and lineage; digest, size and files are left out.

    Raises:
        Refused: The folder holds an artefact with other shards in its lineage (exit 46).
    """
    before = read_manifest(store, folder_key)
    if before is not None and _shards(before) - _shards(manifest):
        others = ", ".join(sorted(_shards(before) - _shards(manifest)))
        raise Refused(
            f"{folder_key} holds what was made from other shards: {others}",
            help="delete that folder in the store; it was not written by this program",
            exit_code=ExitCode.BAD_WEIGHTS,
        )
    empty = {"digest": None, "size_bytes": 0, "tensors": None, "files": ()}
    _write_manifest(store, folder_key, manifest.model_copy(update=empty))


def publish(
    store: ObjectStore, folder_key: str, files: Mapping[str, Path], manifest: Manifest
) -> None:
    """Write an artefact's files, and then the manifest that makes it complete.

    Args:
        store: The store.
        folder_key: The folder of the artefact, ending in a slash; `begin` was called for it.
        files: Names below the folder, each with the local file to read.
        manifest: The finished manifest; the names of the files are set here.

    Raises:
        Refused: The manifest lacks what its kind requires, or its size is not the file's (46).
    """
    named = manifest.model_copy(update={"files": tuple(sorted(files))})
    _require_promised(folder_key, files, named)
    for name in sorted(files):
        store.put_file(folder_key + name, files[name])
    _write_manifest(store, folder_key, named)


def sweep(store: ObjectStore, folder_key: str) -> None:
    """Remove what killed writes left in an artefact's folder, if the store permits it."""
    with suppress(Transient):
        for info in list(store.list_versions(folder_key)):
            if info.is_unfinished:
                store.purge(info)


def finish(store: ObjectStore, folder_key: str, manifest: Manifest) -> Manifest:
    """Complete weights that were written straight into the store, by writing their manifest.

    Args:
        store: The store.
        folder_key: The folder of the artefact, ending in a slash; `begin` was called for it.
        manifest: The finished manifest; the name of the file is set here.

    Returns:
        The manifest that was written.

    Raises:
        Refused: The weights are missing, or their size is not the manifest's (exit 46).
    """
    key = folder_key + WEIGHTS
    info = store.head(key)
    if info is None or manifest.digest is None or info.size_bytes != manifest.size_bytes:
        size = f"it has {info.size_bytes} bytes" if info else "it is not there"
        raise _refused(key, f"{size}; {manifest.size_bytes} were written")
    named = manifest.model_copy(update={"files": (WEIGHTS,)})
    _write_manifest(store, folder_key, named)
    return named


def read_manifest(store: ObjectStore, folder_key: str) -> Manifest | None:
    """Read a folder's manifest; None if there is none.

    Raises:
        Refused: The manifest is invalid, or of a version that is not supported (exit 46).
    """
    data = store.get(folder_key + MANIFEST)
    return _parsed(folder_key + MANIFEST, data) if data is not None else None


def _parsed(key: str, data: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise _refused(key, f"it is no manifest: {at} {first['msg']}") from error
    if manifest.version != 1:
        raise _refused(key, f"it is of version {manifest.version}; this program reads 1")
    return manifest


def is_complete(manifest: Manifest) -> bool:
    """Whether the artefact has what its kind requires. A training in progress never is complete."""
    match manifest.kind:
        case ArtefactKind.INGREDIENT | ArtefactKind.REVISION | ArtefactKind.ACCUMULATOR:
            return manifest.digest is not None
        case ArtefactKind.EVALUATION:
            return EVALUATION in manifest.files
        case ArtefactKind.TRAINING | ArtefactKind.COMMITMENTS:
            return False


def find_complete(store: ObjectStore, folder_key: str) -> Manifest | None:
    """Read the manifest of a finished artefact; None if it is not finished or a file is missing.

    Weights and sums must also have the manifest's size. So an artefact that was deleted by hand or
    cut short is made again instead of being used.

    Raises:
        Refused: The manifest is invalid, or of a version that is not supported (exit 46).
    """
    manifest = read_manifest(store, folder_key)
    if manifest is None or not is_complete(manifest):
        return None
    infos = {name: store.head(folder_key + name) for name in manifest.files}
    if None in infos.values():
        return None
    weights = infos.get(_measured(manifest))
    return manifest if weights is None or weights.size_bytes == manifest.size_bytes else None


def fetch_weights(store: ObjectStore, folder_key: str, into: Path, digest: str) -> Path:
    """Download an artefact's weights file, and check its digest on the way.

    Args:
        store: The store.
        folder_key: The folder of the artefact, ending in a slash.
        into: A folder; the file keeps its name there, and appears whole or not at all.
        digest: The weights digest that the file must have.

    Raises:
        Refused: The file is missing, was cut short or edited (exit 46).
    """
    source = object_bytes(store, folder_key + WEIGHTS)
    path = into / WEIGHTS
    sha256 = hashlib.sha256()
    with appearing(path) as file:
        for block in blocks(source, 0, source.size_bytes, FETCH_BYTES):
            sha256.update(block)
            file.write(block)
        actual = PREFIX + sha256.hexdigest()
        if actual != digest:
            raise _refused(
                source.name,
                f"it was edited or cut short: it is {actual} of {source.size_bytes} bytes, and "
                f"{digest} was named",
            )
    return path


def covering_manifests(
    store: ObjectStore, prefix: str
) -> Iterator[tuple[ObjectInfo, Manifest | None]]:
    """List everything under a prefix, each with the manifest of the nearest folder that has one.

    It lists all that `list_versions` shows. If a bucket keeps versions, a deleted folder still has
    its manifest in an older version, which gives the lineage of the folder's other versions. None
    stands for an unknown lineage, which must not be taken for a clean one. A manifest that is
    invalid or cannot be read covers nothing, and neither does one that lies above all artefacts: it
    would vouch for objects that anybody put below it.
    """
    return with_manifests(store, store.list_versions(prefix))


def with_manifests(
    store: ObjectStore, infos: Iterable[ObjectInfo]
) -> Iterator[tuple[ObjectInfo, Manifest | None]]:
    """Yield each of some objects with its manifest, as `covering_manifests` does.

    Listing and reading manifests take time, and other processes may remove or write meanwhile. So
    an object of unknown lineage is yielded only if a second check still finds it uncovered.
    """
    listed = list(infos)
    former = _former_manifests(listed)
    covering = _covering(store, {_folder_of(info.key) for info in listed}, former)
    unknown = []
    for info in listed:
        if manifest := covering[_folder_of(info.key)]:
            yield info, manifest
        else:
            unknown.append(info)
    if unknown:
        yield from _check_again(store, unknown, former)


def _check_again(
    store: ObjectStore, unknown: Sequence[ObjectInfo], former: Mapping[str, Sequence[ObjectInfo]]
) -> Iterator[tuple[ObjectInfo, Manifest | None]]:
    folders = {_folder_of(info.key) for info in unknown}
    there = read_each(folders, lambda folder_key: _objects_in(store, folder_key))
    left = [info for info in unknown if info in there[_folder_of(info.key)]]
    covering = _covering(store, {_folder_of(info.key) for info in left}, former)
    for info in left:
        yield info, covering[_folder_of(info.key)]


def _objects_in(store: ObjectStore, folder_key: str) -> set[ObjectInfo]:
    """List all versions in a folder; only the current ones if the store denies the others."""
    try:
        return set(store.list_versions(folder_key))
    except Transient:
        return set(store.list(folder_key))


def _former_manifests(listed: Iterable[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    """Group the versions of manifests by the folder that they cover."""
    former: dict[str, list[ObjectInfo]] = {}
    for info in listed:
        if info.version and info.key.endswith(f"/{MANIFEST}"):
            former.setdefault(_folder_of(info.key), []).append(info)
    return former


@dataclass(frozen=True)
class _Own:
    """What a folder says of itself."""

    manifest: Manifest | None
    is_final: bool
    """Whether no folder above is asked: it has a manifest, or one that is invalid."""


def _covering(
    store: ObjectStore,
    folder_keys: Iterable[str],
    former: Mapping[str, Sequence[ObjectInfo]],
) -> Mapping[str, Manifest | None]:
    """Return the manifest that covers each of some folders, its own or one of a folder above.

    Reads one level after the other, the manifests of a level several at a time.
    """
    folders = set(folder_keys)
    own: dict[str, _Own] = {}
    wanted = folders
    while wanted := {key for key in wanted - own.keys() if key.count("/") >= SHALLOWEST}:
        own |= read_each(wanted, lambda folder_key: _own(store, folder_key, former))
        wanted = {_parent_of(key) for key in wanted if not own[key].is_final}

    def covering(folder_key: str) -> Manifest | None:
        while folder_key in own and not own[folder_key].is_final:
            folder_key = _parent_of(folder_key)
        return own[folder_key].manifest if folder_key in own else None

    return {folder_key: covering(folder_key) for folder_key in folders}


def _own(store: ObjectStore, folder_key: str, former: Mapping[str, Sequence[ObjectInfo]]) -> _Own:
    try:
        manifest = read_manifest(store, folder_key)
        if manifest is None and folder_key in former:
            manifest = _former_manifest(store, former[folder_key])
    except Refused:
        return _Own(None, is_final=True)
    return _Own(manifest, is_final=manifest is not None)


def _former_manifest(store: ObjectStore, versions: Sequence[ObjectInfo]) -> Manifest | None:
    """Read the older versions of a manifest; the lineage is the union of theirs."""
    manifests = []
    for info in versions:
        try:
            data = store.get_version(info)
        except Transient:  # The store denies older versions: the lineage stays unknown.
            return None
        if data is not None:
            manifests.append(_parsed(info.key, data))
    if not manifests:
        return None
    lineage = {pair for manifest in manifests for pair in manifest.lineage}
    in_order = tuple(sorted(lineage, key=lambda pair: (pair.shard, pair.training_key)))
    return manifests[0].model_copy(update={"lineage": in_order})


def _folder_of(key: str) -> str:
    return key[: key.rfind("/") + 1]


def _parent_of(folder_key: str) -> str:
    return _folder_of(folder_key.rstrip("/"))


def _shards(manifest: Manifest) -> set[str]:
    return {pair.shard for pair in manifest.lineage}


def _require_promised(folder_key: str, files: Mapping[str, Path], manifest: Manifest) -> None:
    if manifest.kind is ArtefactKind.TRAINING:
        return
    if not is_complete(manifest):
        raise ValueError(f"{folder_key} would be published without what {manifest.kind} promises")
    if manifest.digest is not None:
        measured = files[_measured(manifest)]
        size_bytes = measured.stat().st_size
        if size_bytes != manifest.size_bytes:
            raise _refused(
                str(measured),
                f"it has {size_bytes} bytes, its manifest says {manifest.size_bytes}",
            )


def _measured(manifest: Manifest) -> str:
    """Return the name of the file that the manifest's digest and size describe."""
    return SUMS if manifest.kind is ArtefactKind.ACCUMULATOR else WEIGHTS


def _write_manifest(store: ObjectStore, folder_key: str, manifest: Manifest) -> None:
    store.put(folder_key + MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")


def _refused(name: str, why: str) -> Refused:
    return Refused(
        f"{name} is refused: {why}",
        help="restore it, or delete its folder in the store to have it made again",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
