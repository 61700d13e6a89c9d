"""Admission of a base: a diffusers pipeline folder, checked by allow-lists of files and classes.

Files and classes that are not listed are refused by name: `stockpot.store.families` lists them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stockpot.api.runspec import BaseRef
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import explained, quoted
from stockpot.store.families import LAYOUTS, PIPELINE_INDEX, FamilyLayout
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import opened
from stockpot.store.safetensors import read_header
from stockpot.store.sources import fetch_folder, tree_digest, tree_files

SUFFIXES = frozenset({".json", ".safetensors", ".txt"})
TEXTS = frozenset({"README", "LICENSE", "LICENCE", "NOTICE", "COPYING", "MODEL_CARD"})
TEXT_SUFFIXES = frozenset({"", ".md", ".txt", ".rst"})

CONFIGS = frozenset(
    {PIPELINE_INDEX, "config.json", "tokenizer_config.json", "scheduler_config.json"}
    | {"preprocessor_config.json", "special_tokens_map.json"}
)
LONGEST_CONFIG_BYTES = 4 << 20

_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipeline"})
"""Keys by which a configuration names code to fetch and run."""

_WHY: Mapping[str, str] = {
    ".py": "it is code",
    ".so": "it is code",
    ".bin": "it is a pickle, which runs code when it is loaded",
    ".pt": "it is a pickle, which runs code when it is loaded",
    ".pth": "it is a pickle, which runs code when it is loaded",
    ".ckpt": "it is a pickle, which runs code when it is loaded",
    ".pkl": "it is a pickle, which runs code when it is loaded",
    ".pickle": "it is a pickle, which runs code when it is loaded",
}


@dataclass(frozen=True)
class OpenBase:
    """A base that was admitted."""

    folder: Path
    digest: Digest

    @property
    def denoiser_weights(self) -> Path:
        """The weights that ingredients replace."""
        return denoiser_weights(self.folder)


def open_base(base: BaseRef, store: ObjectStore, work: Path) -> OpenBase:
    """Fetch the base, and admit it or refuse it.

    Args:
        base: The location of the base, and the digest that it must have.
        store: Holds a base that is in the store.
        work: Scratch folder; a base from the store is downloaded to `base` below it.

    Raises:
        Refused: It is no diffusers folder, holds code or pickles, has unknown classes, or is broken
            (exit 45); or it has another digest than was named (exit 43).
        Transient: The store or the disk fails.
    """
    folder = fetch_folder(base.location, store, work / "base", exit_code=ExitCode.BAD_BASE)
    require_base(folder)
    digest = tree_digest(folder, exit_code=ExitCode.BAD_BASE)
    if base.digest is not None and digest != base.digest:
        raise Refused(
            f"the base at {base.location.path} is {digest}, and {base.digest} was named",
            help="put the named base back: a soup's base never changes. For another one, make "
            "another Soup",
            exit_code=ExitCode.WRONG_DIGEST,
        )
    return OpenBase(folder, digest)


def require_base(folder: Path) -> None:
    """Check every file of a pipeline folder.

    Raises:
        Refused: A file or class is not listed, missing or broken (exit 45).
    """
    files = tree_files(folder, exit_code=ExitCode.BAD_BASE)
    if PIPELINE_INDEX not in files:
        raise _refused(
            f"{folder} is no diffusers pipeline folder: it has no {PIPELINE_INDEX}",
            "point the base at the folder that pipeline.save_pretrained(FOLDER) wrote",
        )
    for name in sorted(files):
        _require_known_file(folder, name)
    for name, path in sorted(files.items()):
        if path.name in CONFIGS:
            _require_no_code(name, _read_config(name, path))
    _require_pipeline(_read_config(PIPELINE_INDEX, files[PIPELINE_INDEX]), files)
    for path in files.values():
        if path.suffix == ".safetensors":
            _require_safetensors(path)


def pixels_per_latent(folder: Path) -> int | None:
    """Return how many pixels a latent spans along one side; None if the codec does not say.

    Args:
        folder: A base that was admitted.
    """
    path = folder / "vae/config.json"
    levels = _read_config("vae/config.json", path).get("block_out_channels")
    return int(2 ** (len(levels) - 1)) if isinstance(levels, list) and levels else None


def denoiser_weights(folder: Path) -> Path:
    """Return the denoiser's weights of a base that was admitted."""
    layout = LAYOUTS[str(_read_config(PIPELINE_INDEX, folder / PIPELINE_INDEX)["_class_name"])]
    return folder / f"{layout.denoiser_stem}.safetensors"


def denoiser_parameters(folder: Path) -> int:
    """Return the number of parameters of the denoiser of a base that was admitted."""
    with opened(denoiser_weights(folder)) as source:
        return sum(span.elements for span in read_header(source).spans)


def _require_known_file(folder: Path, name: str) -> None:
    path = PurePosixPath(name)
    hidden = next((i for i, part in enumerate(path.parts) if part.startswith(".")), None)
    if hidden is not None:
        raise _refused(
            f"the base {folder} holds the hidden file {name}, which its digest would cover",
            f"remove it: rm -r {quoted(folder.joinpath(*path.parts[: hidden + 1]))}",
        )
    if path.suffix in SUFFIXES:
        return
    if path.name.split(".")[0].upper() in TEXTS and path.suffix.lower() in TEXT_SUFFIXES:
        return
    why = _WHY.get(path.suffix.lower(), "it is no file that a pipeline needs")
    raise _refused(
        f"the base {folder} holds {name}: {why}",
        "keep configurations (.json), weights (.safetensors), vocabularies (.txt) and a README "
        "or LICENSE; pipeline.save_pretrained(FOLDER, safe_serialization=True) writes such a "
        "folder",
    )


def _read_config(name: str, path: Path) -> dict[str, Any]:
    with explained(path):
        if path.stat().st_size > LONGEST_CONFIG_BYTES:
            raise _refused(
                f"{name} of the base has more than {LONGEST_CONFIG_BYTES} bytes", _SAVE_AGAIN
            )
        data = path.read_bytes()
    try:
        config = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refused(f"{name} of the base is no JSON: {error}", _SAVE_AGAIN) from error
    if not isinstance(config, dict):
        raise _refused(f"{name} of the base is no JSON object", _SAVE_AGAIN)
    return config


def _require_no_code(name: str, config: Mapping[str, Any]) -> None:
    if named := sorted(_CODE_KEYS & config.keys()):
        raise _refused(
            f"{name} of the base names code to run: {', '.join(named)}",
            "use an architecture that diffusers and transformers bring themselves",
        )


def _require_pipeline(index: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in LAYOUTS:
        raise _refused(
            f"the base is a {pipeline!r}, which we do not know",
            f"use one of: {', '.join(sorted(LAYOUTS))}",
        )
    layout = LAYOUTS[pipeline]
    for name, value in index.items():
        is_setting = name not in layout.components and not isinstance(value, list | dict)
        if not name.startswith("_") and not is_setting:
            _require_class(layout, name, value)
    for name, component in layout.components.items():
        if not component.is_needed:
            continue
        if index.get(name) in (None, [None, None]):
            raise _refused(f"the base has no {name} in its {PIPELINE_INDEX}", _SAVE_AGAIN)
        weights = ((f"{component.weights}.safetensors",),) if component.weights else ()
        for group in (*component.files, *weights):
            if not any(f"{name}/{file}" in files for file in group):
                raise _refused(
                    f"the base has no {name}/{' or '.join(group)}",
                    "the upload or the download may have been cut short: bring the whole folder",
                )


def _require_class(layout: FamilyLayout, name: str, value: Any) -> None:
    component = layout.components.get(name)
    if component is None:
        raise _refused(
            f"{PIPELINE_INDEX} of the base names the component {name}, which we do not know",
            f"a pipeline has: {', '.join(sorted(layout.components))}",
        )
    if value == [None, None]:
        return
    if not isinstance(value, list) or value not in [list(known) for known in component.classes]:
        known = ", ".join(".".join(kind) for kind in sorted(component.classes)) or "null alone"
        raise _refused(
            f"the {name} of the base is of a class that is on no list: {json.dumps(value)}",
            f"a {name} may be: {known}",
        )


def _require_safetensors(path: Path) -> None:
    try:
        with opened(path) as source:
            read_header(source)
    except Refused as error:
        raise _refused(f"the base's {error.message}", _SAVE_AGAIN) from error


_SAVE_AGAIN = "write the folder again: pipeline.save_pretrained(FOLDER, safe_serialization=True)"


def _refused(message: str, advice: str) -> Refused:
    return Refused(message, help=advice, exit_code=ExitCode.BAD_BASE)
