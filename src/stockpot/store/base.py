"""Admission of a base: a diffusers pipeline folder, checked, fetched and digested.

`stockpot.store.base_rules` says which files a pipeline needs, and what is wrong with them. Nothing
else is fetched, and nothing else is part of the digest.
"""

import json
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from stockpot.api.runspec import BaseRef, Place
from stockpot.core.digests import Digest, digest_of_tree
from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import explained, quoted
from stockpot.store.base_files import BaseFiles, FolderFiles, StoredFiles
from stockpot.store.base_rules import BaseFault, CheckedBase, check_base
from stockpot.store.families import LAYOUTS, PIPELINE_INDEX, FamilyLayout
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import ByteSource, opened
from stockpot.store.safetensors import read_header
from stockpot.store.sources import fetch_keys, file_digest, require_folder

log = structlog.get_logger()

_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class OpenBase:
    """A base that was admitted."""

    folder: Path
    """Only what is used of it, under the names that loaders expect."""
    digest: Digest

    @property
    def layout(self) -> FamilyLayout:
        """Its components."""
        return _layout(self.folder)

    @property
    def denoiser_files(self) -> tuple[Path, ...]:
        """The weights that ingredients replace: one file, or shards."""
        return denoiser_files(self.folder)


def open_base(base: BaseRef, store: ObjectStore, work: Path) -> OpenBase:
    """Check the base, fetch what is needed of it, and digest that; or refuse it.

    Args:
        base: The location of the base, and the digest that it must have.
        store: Holds a base that is in the store.
        work: Scratch folder. `base` below it gets a base from the store, or links to the used files
            of a folder that has others as well.

    Raises:
        Refused: It is no diffusers folder, has unknown classes, or is broken; all faults are named
            (exit 45). Or it has another digest than was named (exit 43).
        Transient: The store or the disk fails.
    """
    path = base.location.path
    is_stored = base.location.place is Place.STORE
    files: BaseFiles
    if is_stored:
        files = StoredFiles.of(store, path)
    else:
        require_folder(Path(path), exit_code=ExitCode.BAD_BASE)
        files = FolderFiles.of(Path(path))
    checked = check_base(files, base.variant or "")
    refuse_faults(checked.faults)
    _log_ignored(checked)
    folder = work / "base"
    if is_stored:
        prefix = path.strip("/") + "/"
        keys = {prefix + source: name for name, source in checked.files.items()}
        fetch_keys(keys, store, folder)
    elif checked.is_used_in_place:
        folder = Path(path)
    else:
        _link(Path(path), checked, folder)
    digest = digest_of(folder, checked)
    if base.digest is not None and digest != base.digest:
        raise Refused(
            f"the base at {path} is {digest}, and {base.digest} was named",
            help="put the named base back: a soup's base never changes. For another one, make "
            "another Soup",
            exit_code=ExitCode.WRONG_DIGEST,
        )
    return OpenBase(folder, digest)


def require_base(folder: Path, variant: str = "") -> None:
    """Check the files of a pipeline folder.

    Raises:
        Refused: Something is wrong with it; all faults are named (exit 45).
    """
    refuse_faults(check_base(FolderFiles.of(folder), variant).faults)


def refuse_faults(faults: Iterable[BaseFault]) -> None:
    """Raise one error for all faults of a base.

    Raises:
        Refused: (BAD_BASE) There is a fault.
    """
    if listed := list(faults):
        raise Refused(
            "; ".join(fault.message for fault in listed),
            help="; ".join(dict.fromkeys(fault.help for fault in listed)),
            exit_code=ExitCode.BAD_BASE,
        )


def digest_of(folder: Path, checked: CheckedBase) -> Digest:
    """Digest what is used of a base: a Merkle root over (path in the base, SHA-256)."""
    return digest_of_tree(
        {source: file_digest(folder / name) for name, source in checked.files.items()}
    )


def resolution_multiple(folder: Path) -> int | None:
    """Return what the sides of pictures are multiples of; None if the codec does not say.

    Args:
        folder: A base that was admitted.
    """
    levels = _config(folder / "vae/config.json").get("block_out_channels")
    if not isinstance(levels, list) or not levels:
        return None
    return int(2 ** (len(levels) - 1)) * _layout(folder).latents_per_token


def denoiser_files(folder: Path) -> tuple[Path, ...]:
    """Return the denoiser's weights of a base that was admitted: one file, or shards."""
    stem = _layout(folder).denoiser_stem
    index = folder / f"{stem}.safetensors.index.json"
    if not index.exists():
        return (folder / f"{stem}.safetensors",)
    names = sorted(set(_config(index)["weight_map"].values()))
    return tuple(index.parent / name for name in names)


def open_denoiser(folder: Path, stack: ExitStack) -> list[ByteSource]:
    """Open the denoiser's weights of a base that was admitted."""
    return [stack.enter_context(opened(path)) for path in denoiser_files(folder)]


def denoiser_parameters(folder: Path) -> int:
    """Return the number of parameters of the denoiser of a base that was admitted."""
    with ExitStack() as stack:
        sources = open_denoiser(folder, stack)
        return sum(span.elements for source in sources for span in read_header(source).spans)


def _layout(folder: Path) -> FamilyLayout:
    pipeline = str(_config(folder / PIPELINE_INDEX).get("_class_name"))
    if pipeline not in LAYOUTS:
        raise _unknown(folder)
    return LAYOUTS[pipeline]


def _config(path: Path) -> dict[str, Any]:
    with explained(path):
        data = path.read_bytes()
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unknown(path) from error
    if not isinstance(config, dict):
        raise _unknown(path)
    return config


def _unknown(path: Path) -> Refused:
    return Refused(
        f"{path} is of no base that was admitted",
        help=f"see: stockpot check base {quoted(path.parent)}",
        exit_code=ExitCode.BAD_BASE,
    )


def _link(folder: Path, checked: CheckedBase, view: Path) -> None:
    """Make a folder of links to the used files, so that loaders find these and no others."""
    with explained(view), suppress(FileNotFoundError):
        shutil.rmtree(view)
    for name, source in checked.files.items():
        with explained(view):
            (view / name).parent.mkdir(parents=True, exist_ok=True)
            (view / name).symlink_to((folder / source).resolve())


def _log_ignored(checked: CheckedBase) -> None:
    for why, names in checked.ignored.items():
        log.info("Not used of the base", why=why, count=len(names), names=shown_names(names))


def shown_names(names: tuple[str, ...]) -> str:
    """List the first names of many."""
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(names[:_NAMED_AT_MOST]) + more
