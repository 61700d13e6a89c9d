"""Opens checkpoints: a safetensors file, or several files with an index, local or in S3.

Files are read by ranges only. Whether several checkpoints fit each other is decided in `layout`.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stockpot.errors import ExitCode, Refused
from stockpot.merging.formats import FORMATS
from stockpot.store.atomic import explained
from stockpot.store.families import PIPELINE_INDEX
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import ABSENT_FROM_STORE, IN_STORE, ByteSource, object_bytes, opened
from stockpot.store.safetensors import Tensor, read_header, refuse, without_repetition

INDEX = ".safetensors.index.json"
SUFFIX = ".safetensors"
_INDEX = re.compile(r".+\.safetensors\.index(\.[^./]+)?\.json")
"""An index of several files. Its name may hold a variant: `….safetensors.index.fp16.json`."""
_SHARD = re.compile(r".+-(\d{5,})-of-(\d{5,})\.safetensors")
_HELP_SHARDS = "download the index and all files that it names, and name the index"
LONGEST_INDEX_BYTES = 64 << 20
SHOWN = 5
AWS = "https://s3.amazonaws.com"
IDENTITY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")


OWN_FILE = "get a whole copy of it: download it or save it again"
_OWN_ADVICE = {IN_STORE: OWN_FILE, ABSENT_FROM_STORE: "check the name for a typing mistake"}


@contextmanager
def help_for_own_files() -> Iterator[None]:
    """Replace help about artefacts: Stockpot did not make a user's files and cannot remake them."""
    try:
        yield
    except Refused as error:
        error.help = _OWN_ADVICE.get(error.help, error.help)
        raise


@dataclass(frozen=True)
class OpenCheckpoint:
    """The tensors of one model, and where each lies."""

    name: str
    """What messages call it."""
    tensors: tuple[Tensor, ...]
    """In order of key."""
    places: tuple[tuple[ByteSource, int], ...]
    """For each tensor: the file, and the offset of its first byte in it."""
    files: tuple[ByteSource, ...] = ()
    """All files that were opened for it, including the index."""

    @property
    def sources(self) -> list[ByteSource]:
        """The files that hold tensors, each once."""
        return list({id(source): source for source, _ in self.places}.values())


def is_index(name: str) -> bool:
    """Whether a file name is that of an index of several files."""
    return _INDEX.fullmatch(name) is not None


def read_checkpoint(
    name: str, sources: Sequence[ByteSource], *, any_type: bool = False
) -> OpenCheckpoint:
    """Read the headers of the files of one checkpoint.

    Args:
        name: What messages call it.
        sources: Its files.
        any_type: Accept tensors of types that cannot be averaged, only copied.

    Raises:
        Refused: A source is no safetensors file, a key is in two of them, there is no tensor, or
            a tensor has a type that is not averaged (exit 46).
    """
    by_key: dict[str, tuple[Tensor, tuple[ByteSource, int]]] = {}
    for source in sources:
        for span in read_header(source).spans:
            if span.dtype not in FORMATS and not any_type:
                known = ", ".join(sorted(FORMATS))
                refuse(source.name, f"tensor {span.key} is {span.dtype}; weights are {known}")
            if span.key in by_key:
                other = by_key[span.key][1][0].name
                refuse(source.name, f"tensor {span.key} is also in {other}")
            by_key[span.key] = ((span.key, span.dtype, span.shape), (source, span.offset))
    if not by_key:
        refuse(name, "it holds no tensor")
    tensors = tuple(by_key[key][0] for key in sorted(by_key))
    places = tuple(by_key[key][1] for key in sorted(by_key))
    return OpenCheckpoint(name, tensors, places, tuple(sources))


def open_checkpoint(where: str | os.PathLike[str], stack: ExitStack) -> OpenCheckpoint:
    """Open the checkpoint at a path or an S3 address.

    Args:
        where: A safetensors file; an index of several (`….safetensors.index.json`, with or without
            a variant as in `….index.fp16.json`); a folder that holds one of the two; or any of
            these as `s3://bucket/key`.
        stack: Closes the files.

    Raises:
        Refused: There is no checkpoint, there are several, or it is broken (exit 46).
        Transient: It cannot be read.
    """
    text = os.fspath(where)
    folder, name = _located(text, stack)
    if not is_index(name):
        return read_checkpoint(text, [folder.source(name)], any_type=True)
    index = folder.source(name)
    weight_map = _read_index(index)
    files = sorted(set(weight_map.values()))
    sources = [_shard(folder, name, file) for file in files]
    if not _is_of(text, name):
        _require_no_others(folder, name, files)
    checkpoint = read_checkpoint(text, sources, any_type=True)
    _require_indexed(text, weight_map, checkpoint, {folder.called(file): file for file in files})
    return replace(checkpoint, files=(*checkpoint.files, index))


def _is_of(text: str, name: str) -> bool:
    """Whether the address names the file itself, and not its folder."""
    return text.rpartition("/")[2] == name


def _shard(folder: "_Folder", index: str, file: str) -> ByteSource:
    try:
        return folder.source(file)
    except Refused as error:
        raise Refused(
            f"{error.message}; {index} names it", help=_HELP_SHARDS, exit_code=error.exit_code
        ) from error


def _require_no_others(folder: "_Folder", index: str, files: Sequence[str]) -> None:
    """Refuse a folder with weights that its index does not name: they would be left out."""
    others = [name for name in _visible(folder) if name.endswith(SUFFIX) and name not in files]
    if others:
        raise Refused(
            f"{folder.called('')} holds {_shown(others)} beside what {index} names",
            help=f"name the file that is meant, as {folder.called(index)}",
            exit_code=ExitCode.BAD_WEIGHTS,
        )


def open_sibling(where: str | os.PathLike[str], name: str, stack: ExitStack) -> ByteSource | None:
    """Open a file in the folder of a checkpoint; None if the folder has no file of this name.

    Raises:
        Transient: It cannot be read.
    """
    folder, _ = _located(os.fspath(where), stack)
    return folder.source(name) if name in folder.names() else None


def _located(text: str, stack: ExitStack) -> "tuple[_Folder, str]":
    """Return the folder of a checkpoint, and the name of its file there."""
    folder: _Folder
    if text.startswith("s3://"):
        bucket, _, key = text.removeprefix("s3://").partition("/")
        folder, name = _split_key(_Bucket(bucket_store(bucket), f"s3://{bucket}/"), key)
    else:
        path = Path(text)
        with explained(path):
            is_folder = path.is_dir()
        above = path if is_folder else path.parent
        folder, name = _Disk(above, stack), "" if is_folder else path.name
    return folder, name or _only_checkpoint(folder)


def bucket_store(bucket: str) -> ObjectStore:
    """Open an S3 bucket with the environment's AWS_ENDPOINT_URL and credentials."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or AWS
    identity = tuple(os.environ.get(name, "") for name in IDENTITY)
    return _open_bucket(endpoint.rstrip("/"), bucket, identity)


@lru_cache(maxsize=8)
def _open_bucket(endpoint: str, bucket: str, identity: tuple[str, ...]) -> ObjectStore:
    """Open each bucket once, so that checkpoints in it share its connections."""
    del identity  # Only a cache key: the client reads the credentials itself.
    # Imported here because local files need no client.
    from stockpot.store.s3 import S3Store  # noqa: PLC0415

    return S3Store(endpoint, bucket)


class _Folder:
    """A folder of files, on the disk or in a bucket."""

    def called(self, name: str) -> str:
        raise NotImplementedError

    def names(self) -> list[str]:
        raise NotImplementedError

    def source(self, name: str) -> ByteSource:
        raise NotImplementedError


class _Disk(_Folder):
    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path, self._stack = path, stack

    def called(self, name: str) -> str:
        return str(self._path / name)

    def names(self) -> list[str]:
        with explained(self._path):
            return sorted(entry.name for entry in os.scandir(self._path))

    def source(self, name: str) -> ByteSource:
        path = self._path / name
        with explained(path):
            is_there = path.exists()
        if not is_there:
            raise Refused(
                f"{path} does not exist",
                help="check the name for a typing mistake",
                exit_code=ExitCode.BAD_WEIGHTS,
            )
        return self._stack.enter_context(opened(path))


class _Bucket(_Folder):
    def __init__(self, store: ObjectStore, name: str, prefix: str = "") -> None:
        self._store, self._name, self._prefix = store, name, prefix

    def below(self, prefix: str) -> "_Bucket":
        return _Bucket(self._store, self._name, prefix)

    def called(self, name: str) -> str:
        return self._prefix + name

    def names(self) -> list[str]:
        keys = [info.key[len(self._prefix) :] for info in self._store.list(self._prefix)]
        return [key for key in keys if "/" not in key]

    def source(self, name: str) -> ByteSource:
        return object_bytes(self._store, self._prefix + name)


def _split_key(bucket: _Bucket, key: str) -> tuple[_Folder, str]:
    """Tell a file from a folder by its name, for a bucket has no folders."""
    prefix, _, name = key.rpartition("/")
    if name.endswith(SUFFIX) or is_index(name):
        return bucket.below(f"{prefix}/" if prefix else ""), name
    return bucket.below(f"{key.strip('/')}/" if key.strip("/") else ""), ""


def _visible(folder: _Folder) -> list[str]:
    """List a folder without hidden files: macOS writes `._NAME` files, which are no weights."""
    return [name for name in folder.names() if not name.startswith(".")]


def _only_checkpoint(folder: _Folder) -> str:
    names, here = _visible(folder), folder.called("") or "the bucket"
    candidates = [name for name in names if is_index(name)]
    candidates = candidates or [name for name in names if name.endswith(SUFFIX)]
    if not candidates:
        pipeline = PIPELINE_INDEX in names
        raise Refused(
            f"{here} holds no safetensors file",
            help="it is a pipeline: name one part of it, as its unet"
            if pipeline
            else "name a .safetensors file, an index of several, or a folder with one of these",
            exit_code=ExitCode.BAD_WEIGHTS,
        )
    parts = [(name, _SHARD.fullmatch(name)) for name in candidates]
    if shards := [name for name, part in parts if part and int(part[2]) > 1]:
        raise Refused(
            f"{here} holds {_shown(shards)} of a checkpoint in several files, and no index of them",
            help=_HELP_SHARDS,
            exit_code=ExitCode.BAD_WEIGHTS,
        )
    if len(candidates) > 1:
        raise Refused(
            f"{here} holds {len(candidates)} checkpoints, and it is not clear which is meant",
            help=f"name one of {_shown(candidates)}",
            exit_code=ExitCode.BAD_WEIGHTS,
        )
    return candidates[0]


def _shown(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"


def _read_index(source: ByteSource) -> Mapping[str, str]:
    """Read the index's map from tensors to files."""
    if source.size_bytes > LONGEST_INDEX_BYTES:
        refuse(source.name, f"an index of {source.size_bytes} bytes is not read")
    try:
        document: Any = json.loads(
            source.read(0, source.size_bytes), object_pairs_hook=without_repetition
        )
    except (ValueError, RecursionError) as error:
        refuse(source.name, f"it cannot be read: {error}")
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        refuse(source.name, "it has no weight_map")
    for key, file in weight_map.items():
        # Only files beside the index are opened: an index may come from an untrusted source.
        if not isinstance(file, str) or "/" in file or "\\" in file or file in ("", ".", ".."):
            refuse(source.name, f"tensor {key} lies in {file!r}, which is not a file name")
    return weight_map


def _require_indexed(
    name: str, weight_map: Mapping[str, str], checkpoint: OpenCheckpoint, files: Mapping[str, str]
) -> None:
    """Refuse an index that contradicts the headers of its files."""
    for (key, _, _), (source, _) in zip(checkpoint.tensors, checkpoint.places, strict=True):
        if key not in weight_map:
            refuse(name, f"tensor {key} of {source.name} is not in the index")
        if weight_map[key] != files[source.name]:
            refuse(name, f"tensor {key} is in {source.name}, the index says {weight_map[key]}")
    if absent := sorted(weight_map.keys() - {key for key, _, _ in checkpoint.tensors}):
        refuse(name, f"tensor {absent[0]} of the index is in no file")


def require_local_or_s3(where: str) -> None:
    """Refuse an address that is neither a path nor in S3.

    Raises:
        Refused: The address has another scheme (exit 2).
    """
    scheme = urlsplit(where).scheme
    if "://" in where and scheme != "s3":
        raise Refused(
            f"{where} cannot be read: only paths and s3://bucket/key are supported",
            help="download it first",
            exit_code=ExitCode.USAGE,
        )
