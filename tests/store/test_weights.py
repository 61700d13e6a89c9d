"""Admission of weights: exact facts about numbers, and refusals that name tensor and index.

Invariant 11.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save_file

from stockpot.api.manifest import TensorFacts
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.ranges import BLOCK_BYTES
from stockpot.store.weights import (
    canonical_header,
    canonicalise,
    header_bytes,
    inspect_weights,
    layout_digest,
)

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def a_file(folder: Path, tensors: Mapping[str, Array]) -> Path:
    """A canonical file."""
    path = folder / "weights.safetensors"
    save_file(dict(tensors), path)
    canonicalise(path, path)
    return path


def a_bfloat16_file(folder: Path, bits: dict[str, list[int]]) -> Path:
    """A canonical file of BF16, for which numpy has no type."""
    header = canonical_header([(key, "BF16", (len(bits[key]),)) for key in bits])
    data = b"".join(np.array(bits[key], "<u2").tobytes() for key in sorted(bits))
    path = folder / "weights.safetensors"
    path.write_bytes(header_bytes(header) + data)
    return path


def test_the_facts_of_a_file_are_found_in_one_reading(tmp_path: Path) -> None:
    tensors = {
        "up.weight": np.array([[1.5, -3.25], [0.0, 2.0]], np.float16),
        "scale": np.array(-0.0, np.float16),
        "none": np.zeros((0, 7), np.float16),
    }
    path = a_file(tmp_path, tensors)

    weights = inspect_weights(path)

    assert weights.digest == digest_of_bytes(path.read_bytes())
    assert weights.size_bytes == path.stat().st_size
    assert weights.facts == TensorFacts(
        count=3,
        parameters=5,
        dtype="F16",
        layout=layout_digest(weights.header),
        largest="0x1.a000000000000p+1",
    )


@settings(max_examples=40, deadline=None)
@given(
    tensor=npst.arrays(
        st.sampled_from([np.float16, np.float32]),
        npst.array_shapes(max_dims=3, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_the_largest_magnitude_is_exact(
    tmp_path_factory: pytest.TempPathFactory, tensor: Array
) -> None:
    path = a_file(tmp_path_factory.mktemp("files"), {"a": tensor, "b": tensor[:1]})

    largest = float.fromhex(inspect_weights(path).facts.largest)

    assert largest == max(abs(float(number)) for number in tensor.flat)


@pytest.mark.parametrize(
    ("bits", "largest"),
    [
        ([0x3F80, 0xC000], 2.0),
        ([0x0001], 2.0**-133),
        ([0x7F7F, 0], 3.3895313892515355e38),
        ([0], 0),
    ],
)
def test_bfloat16_is_read_exactly(tmp_path: Path, bits: list[int], largest: float) -> None:
    facts = inspect_weights(a_bfloat16_file(tmp_path, {"a": bits})).facts

    assert (facts.dtype, float.fromhex(facts.largest)) == ("BF16", largest)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("number", "name"), [(math.nan, "a NaN"), (math.inf, "an infinity"), (-math.inf, "an infinity")]
)
def test_what_is_no_number_is_refused_with_its_place(
    tmp_path: Path, dtype: type[np.floating], number: float, name: str
) -> None:
    tensor = np.ones((3, 4, 5), dtype)
    tensor[1, 2, 3] = number
    path = a_file(tmp_path, {"conv.weight": tensor, "a": np.ones(1, dtype)})

    with pytest.raises(Refused) as refusal:
        inspect_weights(path)

    assert refusal.value.message == f"{path} is refused: tensor conv.weight has {name} at [1, 2, 3]"
    assert "have it made again" in refusal.value.help
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS


def test_its_place_is_found_behind_the_first_block_too(tmp_path: Path) -> None:
    tensor = np.zeros((3, BLOCK_BYTES // 2 + 5), np.float16)
    tensor[2, 7] = math.nan

    with pytest.raises(Refused, match=r"tensor a has a NaN at \[2, 7\]\n"):
        inspect_weights(a_file(tmp_path, {"a": tensor}))


def test_a_single_number_that_is_none_has_no_index(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"tensor a has an infinity at \[\]\n"):
        inspect_weights(a_file(tmp_path, {"a": np.array(math.inf, np.float32)}))


def test_bfloat16_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = a_bfloat16_file(tmp_path, {"a": [0], "b": [0x3F80, 0xFFC0]})

    with pytest.raises(Refused, match=r"tensor b has a NaN at \[1\]\n"):
        inspect_weights(path)


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({}, "it holds no tensor"),
        ({"a": np.zeros(2)}, "tensor a is of type F64; weights are one of F16, BF16, F32"),
        ({"ids": np.zeros(2, np.int64)}, "tensor ids is of type I64; weights are one of"),
        (
            {"a": np.zeros(2, np.float16), "b": np.zeros(2, np.float32)},
            "tensor a is of type F16 and b of F32; weights are of one type",
        ),
    ],
)
def test_what_cannot_be_averaged_is_refused(
    tmp_path: Path, tensors: Mapping[str, Array], why: str
) -> None:
    with pytest.raises(Refused) as refusal:
        inspect_weights(a_file(tmp_path, tensors))

    assert why in refusal.value.message
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS


def test_a_file_in_another_order_or_with_metadata_is_not_canonical(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.ones(2, np.float16)}, path, metadata={"format": "pt"})

    with pytest.raises(Refused, match="it is not in canonical form") as refusal:
        inspect_weights(path)

    assert "canonicalise" in refusal.value.message
    canonicalise(path, path)
    assert inspect_weights(path).facts.count == 1


def test_files_of_one_layout_can_be_averaged_and_others_cannot(tmp_path: Path) -> None:
    def layout(tensors: Mapping[str, Array]) -> str:
        return inspect_weights(a_file(tmp_path, tensors)).facts.layout

    one = layout({"a": np.ones((2, 3), np.float16)})

    assert layout({"a": np.zeros((2, 3), np.float16)}) == one
    assert layout({"a": np.zeros((3, 2), np.float16)}) != one
    assert layout({"b": np.zeros((2, 3), np.float16)}) != one
    assert layout({"a": np.zeros((2, 3), np.float32)}) != one
