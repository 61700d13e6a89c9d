"""Checkpoints that are broken or do not fit: one sentence each, its exit code, and no output.

Invariant 11.
"""

import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.merging.kitchen import some_tensors
from tests.merging.test_soup import a_file, raw_file, some_files

from stockpot.errors import ExitCode, StockpotError, Transient
from stockpot.merging import merge
from stockpot.merging.checkpoints import INDEX
from stockpot.store.ranges import FileBytes

FOUR = {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}


def refusal(inputs: Any, output: Path, **options: Any) -> StockpotError:
    with pytest.raises(StockpotError) as caught:
        merge(inputs, output, **options)
    left = [path.name for path in output.parent.iterdir() if path.name.startswith((".", "soup"))]
    assert left == []
    assert "\n" not in caught.value.message
    assert caught.value.help
    return caught.value


def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reads local files by itself: that it says the same is seen in test_pieces.py."""
    monkeypatch.setattr("stockpot.merging.soup.installed", lambda: None)


def truncated(path: Path) -> Path:
    path.write_bytes(a_file(path, some_tensors(1)).read_bytes()[:-2])
    return path


def long_header(path: Path) -> Path:
    path.write_bytes((1 << 20).to_bytes(8, "little") + b"{}")
    return path


def huge_header(path: Path) -> Path:
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{" + b" " * 100)
    return path


def renamed_pickle(path: Path) -> Path:
    path.write_bytes(pickle.dumps({"a": list(range(100))}))
    return path


def apple_double(path: Path) -> Path:
    path.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100))
    return path


def lfs_pointer(path: Path) -> Path:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    return path


def spans(*spans: tuple[int, int], size: int = 16) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        document = {
            f"t{i}": {"dtype": "F16", "shape": [(end - begin) // 2], "data_offsets": [begin, end]}
            for i, (begin, end) in enumerate(spans)
        }
        return raw_file(path, document, b"\0" * size)

    return write


def document(text: str) -> Callable[[Path], Path]:
    return lambda path: raw_file(path, text.encode(), b"\0" * 8)


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (truncated, "is cut short"),
    "header longer than the file": (long_header, "is cut short: its header alone has"),
    "huge header": (huge_header, "its header claims 4611686018427387904 bytes"),
    "pickle": (renamed_pickle, "but a pickle, which runs code"),
    "overlapping": (spans((0, 8), (4, 16)), "tensors t0 and t1 overlap"),
    "out of range": (spans((0, 32)), "is cut short: t0 ends at byte"),
    "a hole": (spans((0, 4), (8, 16)), "4 bytes before t1 belong to no tensor"),
    "bytes behind": (spans((0, 8)), "8 bytes behind the last tensor"),
    "negative size": (document(json.dumps({"a": FOUR | {"shape": [-4]}})), "impossible shape"),
    "negative offset": (
        document(json.dumps({"a": FOUR | {"data_offsets": [-8, 0]}})),
        "impossible offsets",
    ),
    "wrong size": (document(json.dumps({"a": FOUR | {"shape": [3]}})), "needs 6 bytes"),
    "duplicate key": (
        document(f'{{"a": {json.dumps(FOUR)}, "a": {json.dumps(FOUR)}}}'),
        "'a' stands in it twice",
    ),
    "no JSON": (document("{nonsense"), "its header cannot be read"),
    "minus zero": (
        document('{"a": {"dtype": "F16", "shape": [-0, 3], "data_offsets": [0, 0]}}'),
        "-0 is no whole number",
    ),
    "half a letter": (
        document(json.dumps({"__metadata__": {"\ud800": "pt"}, "a": FOUR})),
        "its __metadata__ is no map from text to text",
    ),
    "empty": (document("{}"), "bytes behind the last tensor"),
    "a type that nobody knows": (
        document(json.dumps({"a": {"dtype": "F24", "shape": [1], "data_offsets": [0, 3]}})),
        "tensor a is of type 'F24', which we do not know",
    ),
    "half a byte": (
        document(json.dumps({"a": {"dtype": "F4", "shape": [15], "data_offsets": [0, 8]}})),
        "tensor a does not fill whole bytes",
    ),
    "what macOS keeps beside a file": (apple_double, "but what macOS keeps beside a file"),
    "a pointer": (lfs_pointer, "but a pointer of Git LFS"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    write, said = BROKEN[name]
    good = some_files(tmp_path, 1)[0]
    bad = write(tmp_path / "bad.safetensors")

    error = refusal([good, bad], tmp_path / "soup.safetensors")

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert error.message.startswith(f"{bad} is refused: ")
    assert said in error.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F16", "F32"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_nan_or_an_infinity_is_named_with_tensor_and_index(
    value: float, dtype: str, threads: int, tmp_path: Path
) -> None:
    files = some_files(tmp_path, 3, dtype)
    tensors = some_tensors(7, dtype, {"a": (3, 50), "b": (70,), "c": (), "empty": (0, 4)})
    kind = {"F16": "<f2", "F32": "<f4"}[dtype]
    numbers = np.frombuffer(tensors["a"][2], kind).copy()
    numbers[2 * 50 + 31] = value
    tensors["a"] = (dtype, (3, 50), numbers.tobytes())
    wild = a_file(tmp_path / "wild.safetensors", tensors)

    error = refusal([*files, wild], tmp_path / "soup.safetensors", threads=threads)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert f"{wild} is refused: tensor a has a NaN or an infinity at [2, 31]" in error.message


def test_other_keys_shapes_and_types_are_refused_with_the_first_five(tmp_path: Path) -> None:
    one = a_file(tmp_path / "1", some_tensors(1, "F16", {f"t{i}": (2, 3) for i in range(9)}))
    two = a_file(tmp_path / "2", some_tensors(2, "F16", {f"t{i}": (3, 2) for i in range(9)}))
    three = a_file(tmp_path / "3", some_tensors(2, "BF16", {f"t{i}": (2, 3) for i in range(9)}))

    shapes = refusal([one, two], tmp_path / "soup.safetensors")
    types = refusal([one, three], tmp_path / "soup.safetensors")

    assert "t0 is F16 [3, 2], not F16 [2, 3]" in shapes.message
    assert shapes.message.endswith("and 4 more")
    assert "t4 is BF16" in types.message
    assert "t5" not in types.message
    assert shapes.exit_code == types.exit_code == ExitCode.BAD_WEIGHTS


def test_no_weight_at_all_is_refused(tmp_path: Path) -> None:
    files = some_files(tmp_path)

    zero = refusal(dict.fromkeys(files, 0), tmp_path / "soup.safetensors")
    nothing = refusal([], tmp_path / "soup.safetensors")

    assert zero.message == "the weights add up to nothing"
    assert nothing.message == "there is nothing to average"
    assert zero.exit_code == nothing.exit_code == ExitCode.USAGE


def test_what_is_too_large_for_the_output_names_its_tensor(tmp_path: Path) -> None:
    large = np.full(40, 70000, "<f4").tobytes()
    file = a_file(tmp_path / "x", {"a": ("F32", (40,), large)})

    error = refusal([file], tmp_path / "soup.safetensors", out_dtype="fp16")

    assert error.message == "the mean of tensor a at [0] is too large for F16"
    assert error.exit_code == ExitCode.BAD_WEIGHTS


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"a": "../x.safetensors"}}, "is no name of a file"),
        ({"weight_map": {"a": "absent.safetensors"}}, "absent.safetensors does not exist"),
        ({"weight_map": {"a": "m.safetensors", "z": "m.safetensors"}}, "z of the index is in no"),
        ({"weight_map": {"b": "m.safetensors"}}, "is not in the index"),
        ({"weight_map": {}}, "it has no weight_map"),
        ([], "it has no weight_map"),
    ],
)
def test_an_index_that_lies_is_refused(index: object, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    a_file(folder / "m.safetensors", {"a": some_tensors(1)["conv.bias"]})
    (folder / f"m{INDEX}").write_text(json.dumps(index))

    error = refusal([folder], tmp_path / "soup.safetensors")

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert said in error.message


def test_a_folder_of_several_or_none_is_not_guessed_about(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")

    none = refusal([folder], tmp_path / "soup.safetensors")
    some_files(folder)
    several = refusal([folder], tmp_path / "soup.safetensors")

    assert none.message == f"{folder} holds no safetensors file"
    assert none.help == "it is a pipeline: name one part of it, as its unet"
    assert several.message.startswith(f"{folder} holds 3 checkpoints")
    assert several.help.startswith("name one of 0.safetensors, 1.safetensors")


def test_a_folder_as_the_output_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()

    error = refusal([tmp_path / "absent"], folder)

    assert error.exit_code == ExitCode.USAGE
    assert error.message == f"{folder} is a folder"


def test_storage_that_fails_in_mid_stream_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = some_files(tmp_path)
    real = FileBytes.read_into
    reads = 0

    def failing(self: FileBytes, offset: int, buffer: memoryview) -> int:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise Transient("the disk is gone", help="look at it")
        return real(self, offset, buffer)

    monkeypatch.setattr(FileBytes, "read_into", failing)
    without_kernel(monkeypatch)
    for threads in (1, 4):
        reads = 0
        error = refusal(files, tmp_path / "soup.safetensors", threads=threads)
        assert error.exit_code == ExitCode.STORAGE


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = some_files(tmp_path)
    real = FileBytes.read_into

    def shorter(self: FileBytes, offset: int, buffer: memoryview) -> int:
        return real(self, offset, buffer[:-2]) if self.name == str(files[1]) else len(buffer)

    monkeypatch.setattr(FileBytes, "read_into", shorter)
    without_kernel(monkeypatch)

    error = refusal(files, tmp_path / "soup.safetensors")

    assert error.message.startswith(f"{files[1]} is cut short: it ends at byte")
    assert error.exit_code == ExitCode.BAD_WEIGHTS


def test_a_merge_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()

    error = refusal(some_files(tmp_path), tmp_path / "soup.safetensors", stop=stop)

    assert error.exit_code == ExitCode.INTERRUPTED


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    error = refusal(["https://example.org/a.safetensors"], tmp_path / "soup.safetensors")

    assert error.exit_code == ExitCode.USAGE
    assert "we know paths and s3://bucket/key" in error.message
