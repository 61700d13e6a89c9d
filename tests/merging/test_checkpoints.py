"""Checkpoints in folders: indices and their variants, shard files, and other files beside them."""

import json
import os
from pathlib import Path

import pytest
from tests.merging.ingredients import some_tensors
from tests.merging.test_bad_checkpoints import refusal
from tests.merging.test_soup import a_file

from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import diff, merge

TENSORS = some_tensors(1, "F16", {"a": (3, 50), "b": (70,)})
PARTS = ("a", "b")
INDICES = (
    "model.safetensors.index.json",
    "model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
    "model.safetensors.index.non_ema.json",
)


def in_parts(folder: Path, index: str = INDICES[0], variant: str = "") -> Path:
    """Write a checkpoint in two files and an index; return the index."""
    folder.mkdir(exist_ok=True)
    weight_map = {}
    for number, key in enumerate(PARTS, 1):
        name = f"model{variant}-{number:05}-of-{len(PARTS):05}.safetensors"
        a_file(folder / name, {key: TENSORS[key]})
        weight_map[key] = name
    (folder / index).write_text(
        json.dumps({"metadata": {"total_size": 440}, "weight_map": weight_map})
    )
    return folder / index


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return a_file(tmp_path / "whole.safetensors", TENSORS)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("by", ["the folder", "the index"])
def test_an_index_of_any_variant_is_a_checkpoint(
    index: str, by: str, whole: Path, tmp_path: Path
) -> None:
    path = in_parts(tmp_path / "model", index, ".fp16")

    named = path if by == "the index" else path.parent

    assert all(tensor.is_equal for tensor in diff(named, whole))
    made = merge([named, whole], tmp_path / "soup.safetensors")
    assert made.digest == merge([whole], tmp_path / "other.safetensors").digest


@pytest.mark.parametrize(
    "name",
    [
        "._model.safetensors",
        "._model-00001-of-00002.safetensors",
        "._model.safetensors.index.json",
        ".DS_Store",
        ".cache.safetensors",
        "Thumbs.db",
        "README.md",
        "config.json",
        "model.safetensors.index.json.bak",
    ],
)
@pytest.mark.parametrize("kind", ["in parts", "whole"])
def test_other_files_beside_a_checkpoint_are_ignored(
    name: str, kind: str, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if kind == "whole":
        a_file(folder / "model.safetensors", TENSORS)
    else:
        in_parts(folder)
    (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")

    assert all(tensor.is_equal for tensor in diff(folder, whole))


def test_an_apple_double_file_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "in" / "._model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000))

    error = refusal([path], tmp_path / "soup.safetensors")

    assert "it is no safetensors file, but what macOS keeps beside a file" in error.message


@pytest.mark.parametrize("stray", ["model-00003-of-00003.safetensors", "model.fp16.safetensors"])
def test_a_folder_with_weights_that_its_index_omits_is_refused(
    stray: str, whole: Path, tmp_path: Path
) -> None:
    index = in_parts(tmp_path / "model")
    a_file(index.parent / stray, TENSORS)

    error = refusal([index.parent], tmp_path / "soup.safetensors")

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert error.message == f"{index.parent} holds {stray} beside what {index.name} names"
    assert error.help == f"name the file that is meant, as {index}"
    assert all(tensor.is_equal for tensor in diff(index, whole))


def test_a_folder_with_two_indices_is_refused(tmp_path: Path) -> None:
    folder = in_parts(tmp_path / "model").parent
    in_parts(folder, INDICES[1], ".fp16")

    error = refusal([folder], tmp_path / "soup.safetensors")

    assert error.message.startswith(f"{folder} holds 2 checkpoints")
    assert error.help == f"name one of {INDICES[1]}, {INDICES[0]}"


@pytest.mark.parametrize("gone", [1, 2])
def test_a_missing_shard_file_is_named(gone: int, tmp_path: Path) -> None:
    index = in_parts(tmp_path / "model")
    part = index.parent / f"model-{gone:05}-of-00002.safetensors"
    part.unlink()

    for named in (index, index.parent):
        error = refusal([named], tmp_path / "soup.safetensors")
        assert error.exit_code == ExitCode.BAD_WEIGHTS
        assert error.message == f"{part} does not exist; {index.name} names it"
        assert error.help.startswith("download the index and all files that it names")


@pytest.mark.parametrize("kept", [1, 2])
def test_shard_files_without_an_index_are_refused(kept: int, tmp_path: Path) -> None:
    index = in_parts(tmp_path / "model")
    index.unlink()
    if kept == 1:
        (index.parent / "model-00002-of-00002.safetensors").unlink()

    error = refusal([index.parent], tmp_path / "soup.safetensors")

    assert "of a checkpoint in several files, and no index of them" in error.message


def test_a_single_shard_file_is_a_whole_checkpoint(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    a_file(folder / "model-00001-of-00001.safetensors", TENSORS)

    assert all(tensor.is_equal for tensor in diff(folder, whole))


@pytest.mark.parametrize(
    "file", ["../whole.safetensors", "/etc/hostname", "a/b.safetensors", "..", ".", "", "a\\b", 7]
)
def test_an_index_that_names_files_elsewhere_is_refused(
    file: object, whole: Path, tmp_path: Path
) -> None:
    index = tmp_path / "m.safetensors.index.fp16.json"
    index.write_text(json.dumps({"weight_map": {"a": file}}))

    error = refusal([index], tmp_path / "soup.safetensors")

    assert "which is not a file name" in error.message


def test_an_index_with_a_repeated_key_is_refused(tmp_path: Path) -> None:
    index = in_parts(tmp_path / "model")
    index.write_text('{"weight_map": {"a": "model-1.safetensors", "a": "model-2.safetensors"}}')

    error = refusal([index], tmp_path / "soup.safetensors")

    assert "'a' stands in it twice" in error.message


def test_symbolic_links_of_the_hugging_face_cache_are_read(whole: Path, tmp_path: Path) -> None:
    index = in_parts(tmp_path / "blobs")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in index.parent.iterdir():
        (snapshot / path.name).symlink_to(path)

    assert all(tensor.is_equal for tensor in diff(snapshot, whole))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_is_not_a_checkpoint(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "stream"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")

    error = refusal([path], tmp_path / "soup.safetensors")

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert error.message == f"{path} is no regular file, and is read by ranges"


@pytest.mark.parametrize("name", ["cut short", "absent", "lora without its model", "edited"])
def test_help_never_says_to_delete_or_remake_a_users_file(
    name: str, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    match name:
        case "cut short":
            path.write_bytes(whole.read_bytes()[:-1])
        case "edited":
            path.write_bytes(whole.read_bytes() + b"\0")
        case "lora without its model":
            a_file(path, {"x.hada_w1_a": TENSORS["b"]})

    with pytest.raises(StockpotError) as merging:
        merge([path], tmp_path / "soup")
    helps = [merging.value.help]
    if name != "lora without its model":
        with pytest.raises(StockpotError) as comparing:
            diff(path, path)
        helps.append(comparing.value.help)

    for advice in helps:
        assert advice
        assert "delete" not in advice
        assert "made again" not in advice
