"""What a base needs, and everything that is wrong with it: all at once, before it is fetched.

`stockpot check base` and admission are this. What a pipeline needs follows from its
model_index.json and from `stockpot.store.families`; all other files are ignored, and named.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from stockpot.errors import Refused
from stockpot.store.atomic import quoted
from stockpot.store.base_files import BaseFiles
from stockpot.store.families import LAYOUTS, PIPELINE_INDEX, Component, FamilyLayout
from stockpot.store.safetensors import Header, read_header

SAFETENSORS = ".safetensors"
LONGEST_CONFIG_BYTES = 4 << 20
TEXTS = frozenset({"README", "LICENSE", "LICENCE", "NOTICE", "COPYING", "MODEL_CARD"})
TEXT_SUFFIXES = frozenset({"", ".md", ".txt", ".rst"})
TOKENIZER_SUFFIXES = frozenset({".model", ".jinja"})

_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipeline"})
"""Keys by which a configuration names code to fetch and run."""
_NARROW = ("F8", "F6", "F4")
"""Types of quantised weights: a mean of their codes means nothing."""
_QUANTISED_ENDINGS = (".weight_scale", ".scale_weight", ".absmax", ".quant_map", ".SCB")
_SAVE_AGAIN = "write the folder again: pipeline.save_pretrained(FOLDER, safe_serialization=True)"
_CUT_SHORT = "the upload or the download may have been cut short: bring the whole folder"


class Ignored(StrEnum):
    """Why a file of a base is not used."""

    HIDDEN = "hidden files"
    PICKLE = "pickles, which run code when they are loaded"
    CODE = "code"
    WEIGHTS = "weights of other variants or formats"
    LINK = "links that leave the folder"
    OTHER = "files that no pipeline needs"


_SUFFIXES: Mapping[str, Ignored] = {
    **dict.fromkeys((".py", ".so"), Ignored.CODE),
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"), Ignored.PICKLE),
    **dict.fromkeys((SAFETENSORS, ".onnx", ".onnx_data", ".gguf", ".msgpack"), Ignored.WEIGHTS),
    **dict.fromkeys((".xml", ".h5", ".tflite"), Ignored.WEIGHTS),
}


@dataclass(frozen=True)
class BaseFault:
    """One thing that is wrong with a base."""

    rule: str
    """Which rule it breaks, as `missing-file`."""
    message: str
    help: str
    file: str = ""
    """The file that it is about, by its path in the base."""


@dataclass(frozen=True)
class CheckedBase:
    """A base, sorted: what is used, what is not, and what is wrong."""

    pipeline: str = ""
    """The class of its pipeline."""
    layout: FamilyLayout | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """The files that are used: the name that loaders expect, and the name in the base."""
    ignored: Mapping[Ignored, tuple[str, ...]] = field(default_factory=dict)
    faults: tuple[BaseFault, ...] = ()

    @property
    def is_used_in_place(self) -> bool:
        """Whether loaders find it as it is, and nothing else beside it."""
        return not self.ignored and all(name == source for name, source in self.files.items())


def check_base(files: BaseFiles, variant: str = "") -> CheckedBase:
    """Sort the files of a base, and find everything that is wrong with them.

    Args:
        files: The listed base. Configurations and headers of weights are read.
        variant: The variant of its weights, such as `fp16`; empty for those without one.

    Raises:
        Transient: It cannot be read.
    """
    if PIPELINE_INDEX not in files.sizes:
        return CheckedBase(
            faults=(
                BaseFault(
                    "no-pipeline",
                    f"{files.where} is no diffusers pipeline folder: it has no {PIPELINE_INDEX}",
                    "point the base at the folder that pipeline.save_pretrained(FOLDER) wrote",
                ),
            )
        )
    index, fault = _read_config(files, PIPELINE_INDEX)
    if index is None:
        return CheckedBase(faults=(fault,) if fault else ())
    pipeline = index.get("_class_name")
    coded = tuple(_code_faults(PIPELINE_INDEX, index))
    if not isinstance(pipeline, str) or pipeline not in LAYOUTS:
        unknown = BaseFault(
            "unknown-pipeline",
            f"the base is a {pipeline!r}, which we do not know",
            f"use one of: {', '.join(sorted(LAYOUTS))}",
            PIPELINE_INDEX,
        )
        return CheckedBase(faults=(*coded, unknown))
    layout = LAYOUTS[pipeline]
    used: dict[str, str] = {}
    faults = [*coded, *_class_faults(layout, index)]
    for name, component in layout.components.items():
        if index.get(name) not in (None, [None, None]):
            chosen, wrong = _weights_of(files, name, component, variant)
            used |= chosen
            faults += wrong
            faults += _missing_faults(files, name, component)
        elif component.is_needed:
            message = f"the base has no {name} in its {PIPELINE_INDEX}"
            faults.append(BaseFault("missing-component", message, _SAVE_AGAIN, PIPELINE_INDEX))
    weights = {source for source in used.values() if source.endswith(SAFETENSORS)}
    used |= {name: name for name in files.sizes if _is_text(name)}
    for name in sorted(name for name in used if name.endswith(".json") and name != PIPELINE_INDEX):
        if ".safetensors.index" not in name:
            config, fault = _read_config(files, used[name])
            faults += [fault] if fault else _code_faults(name, config or {})
            faults += _quantised_config(name, config or {})
    for source in sorted(weights):
        faults += _weights_faults(files, source)
    return CheckedBase(pipeline, layout, used, _ignored(files, used), tuple(faults))


def _class_faults(layout: FamilyLayout, index: Mapping[str, Any]) -> Iterator[BaseFault]:
    for name, value in index.items():
        is_setting = name not in layout.components and not isinstance(value, list | dict)
        if name.startswith("_") or is_setting or value == [None, None]:
            continue
        component = layout.components.get(name)
        if component is None:
            yield BaseFault(
                "unknown-component",
                f"{PIPELINE_INDEX} of the base names the component {name}, which we do not know",
                f"a pipeline has: {', '.join(sorted(layout.components))}",
                PIPELINE_INDEX,
            )
        elif not isinstance(value, list) or value not in [list(kind) for kind in component.classes]:
            known = ", ".join(".".join(kind) for kind in sorted(component.classes))
            yield BaseFault(
                "unknown-class",
                f"the {name} of the base is of a class that is on no list: {json.dumps(value)}",
                f"a {name} may be: {known or 'null alone'}",
                PIPELINE_INDEX,
            )


def _missing_faults(files: BaseFiles, name: str, component: Component) -> Iterator[BaseFault]:
    for group in component.files:
        if not any(f"{name}/{file}" in files.sizes for file in group):
            unusable = next((f"{name}/{f}" for f in group if f"{name}/{f}" in files.unusable), "")
            if unusable:
                yield _link_fault(files, unusable)
                continue
            message = f"the base has no {name}/{' or '.join(group)}"
            yield BaseFault("missing-file", message, _CUT_SHORT, f"{name}/{group[0]}")


def _link_fault(files: BaseFiles, name: str) -> BaseFault:
    return BaseFault(
        "link",
        f"{files.shown(name)} {files.unusable[name]}",
        f"copy the folder with its links resolved: cp -rL {quoted(files.where)} COPY",
        name,
    )


def _weights_of(
    files: BaseFiles, name: str, component: Component, variant: str
) -> tuple[dict[str, str], list[BaseFault]]:
    """Choose the weights of a component: one file, or an index with its shards."""
    if not component.weights:
        return {}, []
    stem = f"{name}/{component.weights}"
    whole = f"{stem}.{variant}{SAFETENSORS}" if variant else f"{stem}{SAFETENSORS}"
    index = f"{stem}{SAFETENSORS}.index.{variant}.json" if variant else f"{stem}{_INDEX_END}"
    if whole in files.sizes:
        return {f"{stem}{SAFETENSORS}": whole}, []
    if index in files.sizes:
        return _sharded(files, stem, index)
    if whole in files.unusable:
        return {}, [_link_fault(files, whole)]
    if not component.is_needed:
        return {}, []
    return {}, [
        BaseFault("missing-file", f"the base has no {whole}", _missing_help(files, stem), whole)
    ]


_INDEX_END = f"{SAFETENSORS}.index.json"


def _missing_help(files: BaseFiles, stem: str) -> str:
    """Say what is there instead of the weights."""
    folder = stem.partition("/")[0]
    beside = [name for name in files.sizes if name.startswith(f"{folder}/")]
    variants = sorted(
        {
            name.removeprefix(f"{stem}.").split(".")[0].split("-")[0]
            for name in beside
            if name.startswith(f"{stem}.") and name.endswith(SAFETENSORS)
        }
        - {"safetensors"}
    )
    if variants:
        return f"there are variants of it: set base.variant to {' or '.join(variants)}"
    if any(_SUFFIXES.get(PurePosixPath(name).suffix) is Ignored.PICKLE for name in beside):
        return f"there is a pickle instead, which runs code when it is loaded; {_SAVE_AGAIN}"
    if any(name.endswith(".gguf") for name in beside):
        return "there is a GGUF file instead: its weights are quantised, and have no exact mean"
    return _CUT_SHORT


def _sharded(files: BaseFiles, stem: str, index: str) -> tuple[dict[str, str], list[BaseFault]]:
    """Read an index of weights, and check it against its shards."""
    document, fault = _read_config(files, index)
    weight_map: Any = (document or {}).get("weight_map")
    if not _is_weight_map(weight_map):
        message = f"{index} of the base has no weight_map from keys to files"
        return {}, [fault or BaseFault("broken-index", message, _CUT_SHORT, index)]
    folder = stem.partition("/")[0]
    used, faults = {f"{stem}{_INDEX_END}": index}, []
    for file in sorted(set(weight_map.values())):
        name = f"{folder}/{file}"
        if "/" in file or file in {"", ".", ".."}:
            message = f"{index} of the base names {file}, which is no file beside it"
            faults.append(BaseFault("shard-outside", message, _CUT_SHORT, index))
        elif name in files.unusable:
            faults.append(_link_fault(files, name))
        elif name not in files.sizes:
            message = f"the base has no {name}, which {index.partition('/')[2]} names"
            faults.append(BaseFault("missing-shard", message, _CUT_SHORT, name))
        else:
            used[name] = name
            faults += _shard_faults(files, name, {k for k, f in weight_map.items() if f == file})
    return used, faults


def _is_weight_map(value: Any) -> bool:
    is_map = isinstance(value, dict) and bool(value)
    return is_map and all(isinstance(file, str) for file in value.values())


def _shard_faults(files: BaseFiles, name: str, wanted: set[str]) -> Iterator[BaseFault]:
    header = _header(files, name)
    if header is None:
        return  # Reported with all other weights.
    actual = {span.key for span in header.spans}
    if missing := sorted(wanted - actual):
        yield BaseFault(
            "missing-tensor",
            f"{name} of the base lacks {len(missing)} tensors that the index looks for in it: "
            f"{missing[0]}",
            _CUT_SHORT,
            name,
        )
    if more := sorted(actual - wanted):
        yield BaseFault(
            "tensor-of-no-index",
            f"{name} of the base has {len(more)} tensors that its index does not name: {more[0]}",
            "files of two downloads may be mixed: bring the whole folder again",
            name,
        )


def _header(files: BaseFiles, name: str) -> Header | None:
    try:
        with files.opened(name) as source:
            return read_header(source)
    except Refused:
        return None


def _weights_faults(files: BaseFiles, name: str) -> Iterator[BaseFault]:
    try:
        with files.opened(name) as source:
            header = read_header(source)
    except Refused as error:
        yield BaseFault("broken-weights", f"the base's {error.message}", _SAVE_AGAIN, name)
        return
    types = {span.dtype for span in header.spans if span.dtype.startswith(_NARROW)}
    scales = [span.key for span in header.spans if span.key.endswith(_QUANTISED_ENDINGS)]
    if types or scales:
        what = ", ".join(sorted(types)) or scales[0]
        yield _quantised(name, f"({what})")


def _quantised(name: str, how: str) -> BaseFault:
    return BaseFault(
        "quantised",
        f"{name} of the base is quantised {how}: its numbers are codes, and codes have no mean",
        "use the weights in fp32, bf16 or fp16",
        name,
    )


def _quantised_config(name: str, config: Mapping[str, Any]) -> Iterator[BaseFault]:
    if "quantization_config" in config:
        yield _quantised(name, "(quantization_config)")


def _read_config(files: BaseFiles, name: str) -> tuple[dict[str, Any] | None, BaseFault | None]:
    def broken(why: str) -> tuple[None, BaseFault]:
        return None, BaseFault("broken-config", f"{name} of the base {why}", _SAVE_AGAIN, name)

    if files.sizes[name] > LONGEST_CONFIG_BYTES and not _is_vocabulary(name):
        return broken(f"has more than {LONGEST_CONFIG_BYTES} bytes")
    try:
        config = json.loads(files.read(name).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return broken(f"is no JSON: {error}")
    # An older tokenizer's added_tokens.json may be a list.
    if not isinstance(config, dict):
        return ({}, None) if _is_vocabulary(name) else broken("is no JSON object")
    return config, None


def _is_vocabulary(name: str) -> bool:
    return name.startswith("tokenizer") and not name.endswith("_config.json")


def _code_faults(name: str, config: Mapping[str, Any]) -> Iterator[BaseFault]:
    if named := sorted(_CODE_KEYS & config.keys()):
        yield BaseFault(
            "names-code",
            f"{name} of the base names code to run: {', '.join(named)}",
            "use an architecture that diffusers and transformers bring themselves",
            name,
        )


def _is_text(name: str) -> bool:
    """Whether a file is a configuration, a vocabulary, or a text for people."""
    path = PurePosixPath(name)
    if any(part.startswith(".") for part in path.parts) or ".safetensors.index" in path.name:
        return False
    if path.suffix in {".json", ".txt"}:
        return True
    if path.parts[0].startswith("tokenizer") and path.suffix in TOKENIZER_SUFFIXES:
        return True
    return path.name.split(".")[0].upper() in TEXTS and path.suffix.lower() in TEXT_SUFFIXES


def _ignored(files: BaseFiles, used: Mapping[str, str]) -> Mapping[Ignored, tuple[str, ...]]:
    sources, groups = set(used.values()), defaultdict(list)
    for name in sorted({*files.sizes, *files.unusable} - sources):
        path = PurePosixPath(name)
        if any(part.startswith(".") for part in path.parts):
            why = Ignored.HIDDEN
        elif name in files.unusable:
            why = Ignored.LINK
        elif ".index." in path.name:
            why = Ignored.WEIGHTS
        else:
            why = _SUFFIXES.get(path.suffix.lower(), Ignored.OTHER)
        groups[why].append(name)
    return {why: tuple(names) for why, names in groups.items()}
