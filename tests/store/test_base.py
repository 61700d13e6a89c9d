"""Which pipeline folders are admitted as a base; unlisted files and classes are refused."""

import json
import pickle
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from stockpot.api.runspec import BaseRef, Location, Place
from stockpot.errors import ExitCode, Refused
from stockpot.store.base import OpenBase, open_base, require_base
from stockpot.store.folder import FolderStore
from stockpot.store.sources import tree_digest

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
    assert base.denoiser_weights == folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert open_folder(folder, base.digest) == base


def test_a_base_has_the_same_digest_in_a_folder_and_in_the_store(folder: Path) -> None:
    store = FolderStore(folder.parent / "store")
    for name in FILES:
        store.put_file(f"bases/emoji/{name}", folder / name)
    ref = BaseRef(location=Location(place=Place.STORE, path="bases/emoji/"))

    base = open_base(ref, store, folder.parent / "work")

    assert base.digest == open_folder(folder).digest
    assert base.folder == folder.parent / "work" / "base"
    assert base.denoiser_weights.read_bytes() == WEIGHTS


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
        ("unet/diffusion_pytorch_model.bin", "it is a pickle, which runs code"),
        ("model.ckpt", "it is a pickle, which runs code"),
        ("weights.PT", "it is a pickle, which runs code"),
        ("vae/codec.py", "it is code"),
        ("unet/model.onnx", "it is no file that a pipeline needs"),
        ("unet/model.safetensors.py", "it is code"),
        ("LICENSE.py", "it is code"),
        ("run", "it is no file that a pipeline needs"),
        ("preview.png", "it is no file that a pipeline needs"),
    ],
)
def test_a_file_that_is_not_listed_is_refused_by_name(folder: Path, name: str, why: str) -> None:
    (folder / name).write_bytes(b"import os")

    refusal = refusal_of(folder)

    assert refusal.message == f"the base {folder} holds {name}: {why}" or (
        refusal.message.startswith(f"the base {folder} holds {name}: {why}")
    )
    assert "safe_serialization=True" in refusal.help


@pytest.mark.parametrize(
    ("name", "remove"),
    [(".DS_Store", ".DS_Store"), ("unet/.secret.json", "unet/.secret.json"),
     (".cache/huggingface/x.json", ".cache")],
)  # fmt: skip
def test_a_hidden_file_is_refused_with_the_command_that_removes_it(
    folder: Path, name: str, remove: str
) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"{}")

    refusal = refusal_of(folder)

    assert f"holds the hidden file {name}" in refusal.message
    assert refusal.help == f"remove it: rm -r {folder}/{remove}"


@pytest.mark.parametrize("name", ["my models", "a;b", "$(id)", "it's", "-rf"])
@pytest.mark.parametrize(
    ("hidden", "remove"),
    [
        (".cache/a b.json", ".cache"),
        ("my.cache/.cache/x.json", "my.cache/.cache"),
        ("un'et/.x y.json", "un'et/.x y.json"),
    ],
)
def test_the_command_that_removes_a_hidden_file_removes_nothing_else(
    folder: Path, name: str, hidden: str, remove: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = folder.rename(folder.with_name(name))
    (moved / hidden).parent.mkdir(parents=True)
    (moved / hidden).write_bytes(b"{}")
    monkeypatch.chdir(moved.parent)

    with pytest.raises(Refused) as caught:
        require_base(Path(name))

    command = caught.value.help.removeprefix("remove it: ")
    words = shlex.split(command)
    assert words[:2] == ["rm", "-r"]
    assert [Path(word) for word in words[2:]] == [Path(name) / remove]
    assert not words[2].startswith("-")


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
            changed(_class_name="FluxPipeline"),
            "the base is a 'FluxPipeline', which we do not know",
            "use one of: StableDiffusionPipeline",
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
