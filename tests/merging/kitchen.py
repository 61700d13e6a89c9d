"""A store with ingredients, for tests: tiny, seeded, without torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.runspec import BaseRef, Location, MergeRun, ObjectRef, Place, RecipePart, StoreRef
from stockpot.api.training import WeightsDtype
from stockpot.core import recipe
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.merging.formats import FORMATS
from stockpot.store.artefacts import begin, publish
from stockpot.store.folder import FolderStore
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.weights import canonical_header, header_bytes

KEYS = Keys("ml")
SOUP = ObjectRef(namespace="ml", name="emoji", uid="soup-1")
BASE = digest_of_bytes(b"a base")
SHAPES: dict[str, tuple[int, ...]] = {"conv.weight": (3, 5, 2), "conv.bias": (7,), "scale": ()}


def key_of(shard: str) -> Digest:
    return digest_of_bytes(f"training of {shard}".encode())


def file_bytes(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """A canonical file of (dtype, shape, data) by key."""
    header = canonical_header((key, dtype, shape) for key, (dtype, shape, _) in tensors.items())
    return header_bytes(header) + b"".join(tensors[key][2] for key in sorted(tensors))


def some_tensors(
    seed: int, dtype: str = "F16", shapes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    dice = np.random.default_rng(seed)
    form = FORMATS[dtype]
    return {
        key: (dtype, shape, form.rounded(dice.normal(size=shape).reshape(-1)).tobytes())
        for key, shape in (shapes or SHAPES).items()
    }


def an_ingredient(
    root: Path, shard: str, data: bytes, work: Path, base: Digest = BASE, **facts: Any
) -> RecipePart:
    """Publish an ingredient as a training does; say how a recipe names it."""
    path = work / f"{shard}.safetensors"
    path.write_bytes(data)
    pair = LineagePair(shard=shard, training_key=key_of(shard))
    manifest = Manifest(
        kind=ArtefactKind.INGREDIENT,
        lineage=(pair,),
        base_digest=base,
        digest=digest_of_bytes(data),
        size_bytes=len(data),
        **facts,
    )
    folder = KEYS.ingredient(shard, key_of(shard))
    store = FolderStore(root)
    begin(store, folder, manifest)
    publish(store, folder, {WEIGHTS: path}, manifest)
    return RecipePart(
        shard_uid=shard,
        training_key=key_of(shard),
        weights_digest=digest_of_bytes(data),
        weight=1,
    )


def a_merge(
    root: Path,
    parts: Sequence[RecipePart],
    output: WeightsDtype = WeightsDtype.FP16,
    base: BaseRef | None = None,
) -> MergeRun:
    named = sorted(
        recipe.WeightedIngredient(
            recipe.Ingredient(recipe.ShardUID(part.shard_uid), Digest(part.training_key)),
            Digest(part.weights_digest),
            part.weight,
        )
        for part in parts
    )
    nowhere = Location(place=Place.FOLDER, path="/nowhere")
    return MergeRun(
        name="merge-1",
        store=StoreRef(url=root.as_uri()),
        soup=SOUP,
        recipe_digest=recipe.Recipe(tuple(named), output.value).digest,
        parts=tuple(parts),
        output=output,
        base=base or BaseRef(location=nowhere, digest=BASE),
    )


def soup_bytes(root: Path, spec: MergeRun) -> bytes:
    folder = KEYS.revision(spec.soup.uid, spec.recipe_digest)
    data = FolderStore(root).get(folder + WEIGHTS)
    assert data is not None
    return data


def everything(root: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with the digest of its bytes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def a_base_folder(folder: Path, unet: bytes) -> Path:
    """A pipeline folder that is let in; only its UNet's weights are of interest here."""
    tiny = file_bytes(some_tensors(0))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    files: dict[str, bytes] = {
        "model_index.json": json.dumps(index).encode(),
        "unet/diffusion_pytorch_model.safetensors": unet,
        "vae/diffusion_pytorch_model.safetensors": tiny,
        "text_encoder/model.safetensors": tiny,
        "tokenizer/vocab.json": b"{}",
        "tokenizer/tokenizer_config.json": b"{}",
        "scheduler/scheduler_config.json": b"{}",
    }
    files |= {f"{name}/config.json": b"{}" for name in ("unet", "vae", "text_encoder")}
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
