"""Which pipeline folders are admitted as a base; unlisted files and classes are refused."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from stockpot.api.runspec import BaseRef, Location, Place
from stockpot.errors import ExitCode, Refused
from stockpot.store.base import OpenBase, denoiser_parameters, open_base
from stockpot.store.base_files import FolderFiles, StoredFiles
from stockpot.store.base_rules import Ignored, check_base
from stockpot.store.folder import FolderStore
from stockpot.store.sources import tree_digest, tree_files

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.35.0",
    "_name_or_path": "somewhere",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["stockpot.diffusion.patch_codec", "PatchCodec"],
}
WEIGHTS = save({"a": np.ones(2, np.float16), "position_ids": np.arange(2)})
FILES: dict[str, bytes] = {
    "model_index.json": json.dumps(INDEX).encode(),
    "scheduler/scheduler_config.json": b'{"_class_name": "DDIMScheduler"}',
    "text_encoder/config.json": b'{"architectures": ["BertModel"]}',
    "text_encoder/model.safetensors": WEIGHTS,
    "tokenizer/tokenizer_config.json": b"{}",
    "tokenizer/vocab.txt": b"[PAD]\n",
    "unet/config.json": b'{"_class_name": "UNet2DConditionModel"}',
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": WEIGHTS,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base that is admitted."""
    root = tmp_path / "emoji"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def open_folder(folder: Path, digest: str | None = None) -> OpenBase:
    ref = BaseRef(location=Location(place=Place.FOLDER, path=str(folder)), digest=digest)
    return open_base(ref, FolderStore(folder.parent / "store"), folder.parent / "work")


def refusal_of(folder: Path) -> Refused:
    with pytest.raises(Refused) as refusal:
        open_folder(folder)
    assert refusal.value.exit_code == ExitCode.BAD_BASE
    assert refusal.value.help
    return refusal.value


def test_a_pipeline_folder_is_admitted_with_its_digest(folder: Path) -> None:
    base = open_folder(folder)

    assert base == OpenBase(folder, tree_digest(folder))
    assert base.denoiser_files == (folder / "unet" / "diffusion_pytorch_model.safetensors",)
    assert open_folder(folder, base.digest) == base


def test_a_base_has_the_same_digest_in_a_folder_and_in_the_store(folder: Path) -> None:
    store = FolderStore(folder.parent / "store")
    for name in FILES:
        store.put_file(f"bases/emoji/{name}", folder / name)
    ref = BaseRef(location=Location(place=Place.STORE, path="bases/emoji/"))

    base = open_base(ref, store, folder.parent / "work")

    assert base.digest == open_folder(folder).digest
    assert base.folder == folder.parent / "work" / "base"
    assert base.denoiser_files[0].read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "name",
    ["README.md", "LICENSE", "LICENSE.txt", "NOTICE", "unet/README.md", "tokenizer/vocab.json",
     "tokenizer/special_tokens_map.json", "tokenizer/merges.txt"],
)  # fmt: skip
def test_texts_and_vocabularies_are_allowed_in_a_base(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")

    assert open_folder(folder).digest == tree_digest(folder)


def test_a_base_of_another_digest_is_refused(folder: Path) -> None:
    named = "sha256:" + "0" * 64

    with pytest.raises(Refused) as refusal:
        open_folder(folder, named)

    assert refusal.value.exit_code == ExitCode.WRONG_DIGEST
    assert f"the base at {folder} is {tree_digest(folder)}, and {named} was named" in str(
        refusal.value
    )
    assert "make another Soup" in refusal.value.help


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unet/diffusion_pytorch_model.bin", Ignored.PICKLE),
        ("model.ckpt", Ignored.PICKLE),
        ("weights.PT", Ignored.PICKLE),
        ("vae/codec.py", Ignored.CODE),
        ("unet/model.safetensors.py", Ignored.CODE),
        ("LICENSE.py", Ignored.CODE),
        ("unet/model.onnx", Ignored.WEIGHTS),
        ("v1-5-pruned.safetensors", Ignored.WEIGHTS),
        ("unet/diffusion_pytorch_model.fp16.safetensors", Ignored.WEIGHTS),
        ("unet/diffusion_pytorch_model.safetensors.index.fp16.json", Ignored.WEIGHTS),
        ("run", Ignored.OTHER),
        ("preview.png", Ignored.OTHER),
        (".DS_Store", Ignored.HIDDEN),
        ("unet/.secret.json", Ignored.HIDDEN),
        (".cache/huggingface/x.json", Ignored.HIDDEN),
    ],
)
def test_a_file_that_is_not_needed_is_named_and_reaches_nothing(
    folder: Path, name: str, why: Ignored
) -> None:
    digest = open_folder(folder).digest
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"import os")

    base = open_folder(folder)

    assert check_base(FolderFiles.of(folder)).ignored == {why: (name,)}
    assert base.digest == digest
    used = {path.relative_to(base.folder).as_posix() for path in base.folder.rglob("*.*")}
    assert used == set(FILES)


def test_a_pickle_by_another_name_is_refused(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(pickle.dumps({"a": 1.0}))

    refusal = refusal_of(folder)

    assert f"{path} is refused" in refusal.message
    assert "but a pickle, which runs code when it is loaded" in refusal.message


def test_weights_that_were_cut_short_are_refused(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(WEIGHTS[:-1])

    assert f"{path} is refused: it is cut short" in refusal_of(folder).message


def test_a_snapshot_of_a_hugging_face_cache_is_a_base(folder: Path, tmp_path: Path) -> None:
    digest = open_folder(folder).digest
    snapshot, blobs = tmp_path / "models--x/snapshots/c0ffee", tmp_path / "models--x/blobs"
    blobs.mkdir(parents=True)
    for number, name in enumerate(FILES):
        (folder / name).rename(blobs / str(number))
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blobs / str(number))

    assert open_folder(snapshot).digest == digest


def test_a_link_out_of_the_base_is_refused(folder: Path) -> None:
    path = folder / "vae" / "config.json"
    path.unlink()
    path.symlink_to("/etc/hostname")

    assert refusal_of(folder).message == f"{path} is a link that leaves the folder"


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_base_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()

    refusal = refusal_of(folder)

    if name == "model_index.json":
        assert refusal.message == (
            f"{folder} is no diffusers pipeline folder: it has no model_index.json"
        )
        assert "pipeline.save_pretrained(FOLDER)" in refusal.help
    else:
        assert refusal.message.startswith(f"the base has no {name}")
        assert "cut short" in refusal.help


def test_a_missing_folder_is_refused(folder: Path) -> None:
    shutil.rmtree(folder)

    assert refusal_of(folder).message == f"there is no folder {folder}"


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda index: {**index, **fields}


@pytest.mark.parametrize(
    ("change", "sentence", "advice"),
    [
        (
            changed(_class_name="PixArtAlphaPipeline"),
            "the base is a 'PixArtAlphaPipeline', which we do not know",
            "use one of: FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline",
        ),
        (changed(_class_name=["mine", "Pipe"]), "the base is a ['mine', 'Pipe']", "use one of"),
        (changed(_class_name=None), "the base is a None", "use one of"),
        (
            changed(unet=["my_unet", "UNet"]),
            'the unet of the base is of a class that is on no list: ["my_unet", "UNet"]',
            "a unet may be: diffusers.UNet2DConditionModel",
        ),
        (changed(unet=["diffusers", "AutoencoderKL"]), "on no list", "a unet may be"),
        (changed(unet="diffusers"), "on no list", "a unet may be"),
        (changed(vae=["os", "system"]), "on no list", "PatchCodec"),
        (changed(vae=[["os"], {}]), "on no list", "PatchCodec"),
        (changed(image_encoder=["transformers", "CLIPTextModel"]), "on no list", "null alone"),
        (changed(hook=["os", "system"]), "the component hook, which we do not know", "unet"),
        (changed(hook={"a": 1}), "the component hook, which we do not know", "unet"),
        (changed(unet=[None, None]), "the base has no unet", "save_pretrained"),
        (changed(scheduler=None), "the scheduler of the base is of a class", "DDIMScheduler"),
        (
            lambda index: {k: v for k, v in index.items() if k != "tokenizer"},
            "the base has no tokenizer in its model_index.json",
            "save_pretrained",
        ),
        (changed(custom_pipeline="x"), "names code to run: custom_pipeline", "architecture"),
    ],
)
def test_a_pipeline_of_unknown_classes_is_refused(
    folder: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    sentence: str,
    advice: str,
) -> None:
    (folder / "model_index.json").write_text(json.dumps(change(INDEX)))

    refusal = refusal_of(folder)

    assert sentence in refusal.message
    assert advice in refusal.help


@pytest.mark.parametrize(
    "name", ["unet/config.json", "tokenizer/tokenizer_config.json", "text_encoder/config.json"]
)
def test_a_configuration_that_names_code_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text('{"auto_map": {"AutoModel": "evil--model.Model"}}')

    refusal = refusal_of(folder)

    assert refusal.message == f"{name} of the base names code to run: auto_map"
    assert "diffusers and transformers bring themselves" in refusal.help


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"[" * 100_000, "is no JSON"),
        (b" " * (5 << 20), "more than 4194304 bytes"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(
    folder: Path, content: bytes, why: str
) -> None:
    (folder / "unet" / "config.json").write_bytes(content)

    refusal = refusal_of(folder)

    assert refusal.message.startswith("unet/config.json of the base ")
    assert why in refusal.message


def test_every_fault_is_named_at_once_and_nothing_is_fetched(folder: Path) -> None:
    (folder / "vae/config.json").unlink()
    (folder / "unet/config.json").write_bytes(b"{")
    (folder / "text_encoder/model.safetensors").write_bytes(WEIGHTS[:-1])
    (folder / "model_index.json").write_text(json.dumps({**INDEX, "scheduler": ["os", "system"]}))
    store = FolderStore(folder.parent / "store")
    for name in tree_files(folder):
        store.put_file(f"bases/emoji/{name}", folder / name)
    fetched: list[str] = []
    store.get_file = lambda key, path: fetched.append(key)  # type: ignore[method-assign]

    checked = check_base(StoredFiles.of(store, "bases/emoji"))
    ref = BaseRef(location=Location(place=Place.STORE, path="bases/emoji"))
    with pytest.raises(Refused) as refusal:
        open_base(ref, store, folder.parent / "work")

    assert sorted((fault.rule, fault.file) for fault in checked.faults) == [
        ("broken-config", "unet/config.json"),
        ("broken-weights", "text_encoder/model.safetensors"),
        ("missing-file", "vae/config.json"),
        ("unknown-class", "model_index.json"),
    ]
    assert all(fault.message in refusal.value.message for fault in checked.faults)
    assert fetched == []


def rename(folder: Path, **names: str) -> None:
    for name, new in names.items():
        (folder / f"{name}/{WEIGHTS_OF[name]}").rename(folder / f"{name}/{new}")


WEIGHTS_OF = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


def test_the_named_variant_is_used_and_no_other(folder: Path) -> None:
    for name, file in WEIGHTS_OF.items():
        path = folder / name / file
        path.with_name(file.replace(".safetensors", ".fp16.safetensors")).write_bytes(WEIGHTS)
        path.write_bytes(b"not read")
    ref = BaseRef(location=Location(place=Place.FOLDER, path=str(folder)), variant="fp16")

    base = open_base(ref, FolderStore(folder.parent / "store"), folder.parent / "work")

    assert [path.name for path in base.denoiser_files] == ["diffusion_pytorch_model.safetensors"]
    assert base.denoiser_files[0].read_bytes() == WEIGHTS
    assert check_base(FolderFiles.of(folder), "fp16").ignored == {
        Ignored.WEIGHTS: tuple(sorted(f"{name}/{file}" for name, file in WEIGHTS_OF.items()))
    }


def test_weights_that_are_there_in_a_variant_alone_are_named(folder: Path) -> None:
    rename(folder, unet="diffusion_pytorch_model.fp16.safetensors")

    refusal = refusal_of(folder)

    assert refusal.message == "the base has no unet/diffusion_pytorch_model.safetensors"
    assert refusal.help == "there are variants of it: set base.variant to fp16"


@pytest.mark.parametrize(
    ("instead", "advice"),
    [
        ("diffusion_pytorch_model.bin", "there is a pickle instead"),
        ("flux1-dev-Q4_0.gguf", "there is a GGUF file instead: its weights are quantised"),
    ],
)
def test_weights_in_a_format_that_is_not_read_are_named(
    folder: Path, instead: str, advice: str
) -> None:
    rename(folder, unet=instead)

    assert advice in refusal_of(folder).help


def shard(folder: Path, weight_map: dict[str, str] | None = None) -> None:
    """Part the UNet's weights into two files with an index."""
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    for number, key in enumerate("ab", 1):
        tensor = {key: np.ones(2, np.float16)}
        (folder / f"unet/part-{number}.safetensors").write_bytes(save(tensor))
    whole = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    index = {"metadata": {}, "weight_map": whole if weight_map is None else weight_map}
    path = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps(index))


def test_a_sharded_denoiser_is_a_base(folder: Path) -> None:
    shard(folder)

    base = open_folder(folder)

    assert [path.name for path in base.denoiser_files] == [
        "part-1.safetensors",
        "part-2.safetensors",
    ]
    assert denoiser_parameters(base.folder) == 4


@pytest.mark.parametrize(
    ("weight_map", "rule", "sentence"),
    [
        ({"a": "part-1.safetensors", "b": "part-3.safetensors"}, "missing-shard", "has no unet/pa"),
        ({"a": "part-1.safetensors", "b": "../x.safetensors"}, "shard-outside", "no file beside"),
        (
            {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-2.safetensors"},
            "missing-tensor",
            "lacks 1 tensors that the index looks for in it: c",
        ),
        ({"a": "part-1.safetensors"}, "", ""),
        ({}, "broken-index", "has no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    folder: Path, weight_map: dict[str, str], rule: str, sentence: str
) -> None:
    shard(folder, weight_map)

    faults = check_base(FolderFiles.of(folder)).faults

    assert [fault.rule for fault in faults] == ([rule] if rule else [])
    assert all(sentence in fault.message for fault in faults)


def test_a_tensor_that_the_index_does_not_name_is_refused(folder: Path) -> None:
    shard(folder)
    path = folder / "unet/part-2.safetensors"
    path.write_bytes(save({"b": np.ones(2, np.float16), "stale": np.ones(1, np.float16)}))

    [fault] = check_base(FolderFiles.of(folder)).faults

    assert (fault.rule, fault.file) == ("tensor-of-no-index", "unet/part-2.safetensors")
    assert "has 1 tensors that its index does not name: stale" in fault.message


def test_quantised_weights_are_refused_by_name(folder: Path) -> None:
    header = {"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    narrow = len(text).to_bytes(8, "little") + text + b"\0\0"
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(narrow)
    (folder / "text_encoder/config.json").write_text('{"quantization_config": {}}')

    faults = check_base(FolderFiles.of(folder)).faults

    assert [(fault.rule, fault.file) for fault in faults] == [
        ("quantised", "text_encoder/config.json"),
        ("quantised", "unet/diffusion_pytorch_model.safetensors"),
    ]
    assert "(F8_E4M3)" in faults[1].message
