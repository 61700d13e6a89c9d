"""What lies in the store, with where it came from: folders that begin and end with a manifest.

Two phases, so that no object ever lies without a lineage:

    begin    manifest.json without a digest     the lineage is known, nothing else is there
    publish  the files, then manifest.json      complete, and only now
    finish   manifest.json                      the same, where the file was written straight there

Cut off in between, it is begun again; the lineage that stands there covers what was left.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.core.digests import PREFIX
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.atomic import appearing
from stockpot.store.keys import MANIFEST, SUMS, WEIGHTS
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.store.ranges import blocks, object_bytes

EVALUATION = "evaluation.json"
FETCH_BYTES = 8 << 20
"""One request to the store."""
SHALLOWEST = 3
"""How deep in the store the first manifest may lie: below namespace, kind and UID."""


def begin(store: ObjectStore, folder_key: str, manifest: Manifest) -> None:
    """Say what will lie in a folder before anything does. An artefact there is no more complete.

    Args:
        store: Where.
        folder_key: Of the artefact, ending in a slash.
        manifest: Its kind and its lineage; what only a finished one has is left out.

    Raises:
        Refused: Something of another lineage lies there (exit 46).
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
    """Write an artefact's files, and at last the manifest that makes it complete.

    Args:
        store: Where.
        folder_key: Of the artefact, ending in a slash; `begin` was called for it.
        files: Names below the folder, each with the local file to read.
        manifest: The finished one; the names of the files are set here.

    Raises:
        Refused: The manifest lacks what its kind promises, or its size is not the file's (46).
    """
    named = manifest.model_copy(update={"files": tuple(sorted(files))})
    _require_promised(folder_key, files, named)
    for name in sorted(files):
        store.put_file(folder_key + name, files[name])
    _write_manifest(store, folder_key, named)


def sweep(store: ObjectStore, folder_key: str) -> None:
    """Remove what writes into an artefact's folder left that were killed, where we may."""
    with suppress(Transient):
        for info in list(store.list_versions(folder_key)):
            if info.is_unfinished:
                store.purge(info)


def finish(store: ObjectStore, folder_key: str, manifest: Manifest) -> Manifest:
    """Write the manifest that makes weights complete which were written straight into the store.

    Args:
        store: Where.
        folder_key: Of the artefact, ending in a slash; `begin` was called for it.
        manifest: The finished one; the name of the file is set here.

    Returns:
        What was written.

    Raises:
        Refused: The weights are not there, or their size is not the manifest's (exit 46).
    """
    key = folder_key + WEIGHTS
    found = store.head(key)
    if found is None or manifest.digest is None or found.size_bytes != manifest.size_bytes:
        size = f"it has {found.size_bytes} bytes" if found else "it is not there"
        raise _refused(key, f"{size}; {manifest.size_bytes} were written")
    named = manifest.model_copy(update={"files": (WEIGHTS,)})
    _write_manifest(store, folder_key, named)
    return named


def read_manifest(store: ObjectStore, folder_key: str) -> Manifest | None:
    """Read what a folder's manifest says, or None where there is none.

    Raises:
        Refused: It is no manifest, or one that this version does not understand (exit 46).
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
    """Whether the artefact has what its kind promises. A training under way never has."""
    match manifest.kind:
        case ArtefactKind.INGREDIENT | ArtefactKind.REVISION | ArtefactKind.ACCUMULATOR:
            return manifest.digest is not None
        case ArtefactKind.EVALUATION:
            return EVALUATION in manifest.files
        case ArtefactKind.TRAINING | ArtefactKind.COMMITMENTS:
            return False


def find_complete(store: ObjectStore, folder_key: str) -> Manifest | None:
    """Find a finished artefact whose files still lie there; weights and sums with their size.

    So that one that was deleted by hand or cut short is made again, not relied on.

    Raises:
        Refused: As `read_manifest`.
    """
    manifest = read_manifest(store, folder_key)
    if manifest is None or not is_complete(manifest):
        return None
    found = {name: store.head(folder_key + name) for name in manifest.files}
    if None in found.values():
        return None
    weights = found.get(_measured(manifest))
    return manifest if weights is None or weights.size_bytes == manifest.size_bytes else None


def fetch_weights(store: ObjectStore, folder_key: str, into: Path, digest: str) -> Path:
    """Bring an artefact's weights file here, and look at every byte on the way.

    Args:
        store: Where it lies.
        folder_key: Of the artefact, ending in a slash.
        into: A folder; the file keeps its name there, and appears whole or not at all.
        digest: The weights digest that was named.

    Raises:
        Refused: It is not there, was cut short or edited (exit 46).
    """
    source = object_bytes(store, folder_key + WEIGHTS)
    path = into / WEIGHTS
    sha256 = hashlib.sha256()
    with appearing(path) as file:
        for block in blocks(source, 0, source.size_bytes, FETCH_BYTES):
            sha256.update(block)
            file.write(block)
        found = PREFIX + sha256.hexdigest()
        if found != digest:
            raise _refused(
                source.name,
                f"it was edited or cut short: it is {found} of {source.size_bytes} bytes, and "
                f"{digest} was named",
            )
    return path


def covering_manifests(
    store: ObjectStore, prefix: str
) -> Iterator[tuple[ObjectInfo, Manifest | None]]:
    """Find everything under a prefix, each with the manifest of the nearest folder that has one.

    All that `list_versions` shows. Where a bucket keeps versions, a folder that was deleted has
    its manifest in an older one, and that still says whose the others are. A manifest that cannot
    be understood or read covers nothing: None says that the lineage is unknown, and what is
    unknown is not clean. Nor does one that lies above all artefacts: it would vouch for whatever
    anybody laid below it.
    """
    return with_manifests(store, store.list_versions(prefix))


def with_manifests(
    store: ObjectStore, infos: Iterable[ObjectInfo]
) -> Iterator[tuple[ObjectInfo, Manifest | None]]:
    """Find for each of some objects what `covering_manifests` says of it.

    Listing and reading manifests take time, and somebody else may remove or write meanwhile. So an
    object of unknown lineage counts only if it is there, and under no manifest, at a second look.
    """
    listed = list(infos)
    former = _former_manifests(listed)
    known: dict[str, Manifest | None] = {}
    unknown = []
    for info in listed:
        if manifest := _covering(store, _folder_of(info.key), known, former):
            yield info, manifest
        else:
            unknown.append(info)
    if unknown:
        yield from _second_look(store, unknown, former)


def _second_look(
    store: ObjectStore, unknown: Sequence[ObjectInfo], former: Mapping[str, Sequence[ObjectInfo]]
) -> Iterator[tuple[ObjectInfo, Manifest | None]]:
    known: dict[str, Manifest | None] = {}
    there: dict[str, set[ObjectInfo]] = {}
    for info in unknown:
        folder_key = _folder_of(info.key)
        if folder_key not in there:
            there[folder_key] = _objects_in(store, folder_key)
        if info in there[folder_key]:
            yield info, _covering(store, folder_key, known, former)


def _objects_in(store: ObjectStore, folder_key: str) -> set[ObjectInfo]:
    """List a folder: all versions, or what shows now where we may not see the others."""
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


def _covering(
    store: ObjectStore,
    folder_key: str,
    known: dict[str, Manifest | None],
    former: Mapping[str, Sequence[ObjectInfo]],
) -> Manifest | None:
    if folder_key.count("/") < SHALLOWEST:
        return None
    if folder_key not in known:
        try:
            found = read_manifest(store, folder_key)
            if found is None and folder_key in former:
                found = _former_manifest(store, former[folder_key])
        except Refused:
            known[folder_key] = None
        else:
            if found is None:
                found = _covering(store, _folder_of(folder_key.rstrip("/")), known, former)
            known[folder_key] = found
    return known[folder_key]


def _former_manifest(store: ObjectStore, versions: Sequence[ObjectInfo]) -> Manifest | None:
    """What the older versions of a manifest said: of all shards that any of them named."""
    found = []
    for info in versions:
        try:
            data = store.get_version(info)
        except Transient:  # Without the right to older versions: unknown, as it was before.
            return None
        if data is not None:
            found.append(_parsed(info.key, data))
    if not found:
        return None
    lineage = {pair for manifest in found for pair in manifest.lineage}
    in_order = tuple(sorted(lineage, key=lambda pair: (pair.shard, pair.training_key)))
    return found[0].model_copy(update={"lineage": in_order})


def _folder_of(key: str) -> str:
    return key[: key.rfind("/") + 1]


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
    """Name the file that digest and size are of."""
    return SUMS if manifest.kind is ArtefactKind.ACCUMULATOR else WEIGHTS


def _write_manifest(store: ObjectStore, folder_key: str, manifest: Manifest) -> None:
    store.put(folder_key + MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")


def _refused(name: str, why: str) -> Refused:
    return Refused(
        f"{name} is refused: {why}",
        help="restore it, or delete its folder in the store to have it made again",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
