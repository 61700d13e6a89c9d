"""Round the weights, write the canonical safetensors file, check it, publish the ingredient."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stockpot.api.manifest import Manifest
from stockpot.api.training import WeightsDtype
from stockpot.errors import ExitCode, Refused
from stockpot.store.artefacts import begin, publish
from stockpot.store.keys import MANIFEST, RECORD_LIST, WEIGHTS
from stockpot.store.port import ObjectStore
from stockpot.store.weights import inspect_weights

_DTYPES = {
    WeightsDtype.FP16: torch.float16,
    WeightsDtype.BF16: torch.bfloat16,
    WeightsDtype.FP32: torch.float32,
}


def write_weights(tensors: Mapping[str, Tensor], dtype: WeightsDtype, path: Path) -> None:
    """Round to nearest, ties to even, and write the canonical safetensors file.

    Raises:
        Refused: (DIVERGED) An element is not finite, or too large for the dtype; names the tensor.
    """
    rounded = {}
    for key in sorted(tensors):
        rounded[key] = tensors[key].detach().to("cpu", _DTYPES[dtype]).contiguous()
        if not rounded[key].isfinite().all():
            raise Refused(
                f"The trained weights have an element in {key} that is no finite {dtype}.",
                help="Lower the optimizer's learningRate, or set publishDtype to bf16 or fp32.",
                exit_code=ExitCode.DIVERGED,
            )
    # With one dtype and no metadata, this sorts by key and pads as the canonical form does;
    # `inspect_weights` would refuse any other file.
    save_file(rounded, path)
    path.chmod(0o644)


def publish_ingredient(
    store: ObjectStore, folder_key: str, weights: Path, records: Path, manifest: Manifest
) -> Manifest:
    """Check the weights file, publish it and the record list, and return the complete manifest."""
    admitted = inspect_weights(weights)
    complete = manifest.model_copy(
        update={
            "digest": admitted.digest,
            "size_bytes": admitted.size_bytes,
            "tensors": admitted.facts,
        }
    )
    begin(store, folder_key, manifest)
    publish(store, folder_key, {WEIGHTS: weights, RECORD_LIST: records}, complete)
    return complete


def update_manifest(store: ObjectStore, folder_key: str, manifest: Manifest) -> Manifest:
    """Replace the manifest of a finished ingredient, and return it."""
    store.put(folder_key + MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest
