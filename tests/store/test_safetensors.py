"""The safetensors reader: which files it reads and refuses, and the canonical form."""

import json
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize, safe_open
from safetensors.numpy import save

from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.store.folder import FolderStore
from stockpot.store.ranges import FileBytes, object_bytes, opened
from stockpot.store.safetensors import (
    Header,
    TensorSpan,
    canonical_header,
    canonicalise,
    header_bytes,
    read_header,
)


def a_file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Build a file of exactly this header and data, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def a_tensor(begin: int, end: int, dtype: str = "F16", shape: Any = None) -> dict[str, Any]:
    shape = [(end - begin) // 2] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(path: Path) -> Header:
    with opened(path) as source:
        return read_header(source)


def test_a_file_written_by_the_safetensors_package_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(
        save(
            {"b": np.ones((2, 3), np.float16), "a": np.zeros(2, np.float32), "ä": np.array(1)},
            metadata={"format": "pt"},
        )
    )

    header = read(path)

    assert header.tensors == (("a", "F32", (2,)), ("b", "F16", (2, 3)), ("ä", "I64", ()))
    assert header.metadata == {"format": "pt"}
    assert header.size_bytes == path.stat().st_size
    assert [span.elements for span in header.spans] == [2, 6, 1]
    b = header.spans[1]
    data = path.read_bytes()[b.offset : b.offset + b.size_bytes]
    assert np.frombuffer(data, np.float16).tolist() == [1.0] * 6


def test_an_object_of_a_store_is_read_by_ranges(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("ns/w", save({"a": np.ones(3, np.float16)}))

    source = object_bytes(store, "ns/w")
    header = read_header(source)

    span = header.spans[0]
    assert source.read(span.offset, span.size_bytes) == np.ones(3, np.float16).tobytes()


OK4 = a_tensor(0, 4)
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is cut short: 0 bytes cannot be a safetensors file"),
    "seven bytes": (b"\x02\0\0\0\0\0\0", "it is cut short: 7 bytes"),
    "only a length": (a_file(b""), "its header cannot be read"),
    "length beyond the end": (a_file({"a": OK4}, length=10**6), "its header alone has 1000000"),
    "length of petabytes": (a_file({"a": OK4}, length=2**62), "at most 16777216 are read"),
    "length cut": (a_file({"a": OK4}, bytes(4), length=20), "its header cannot be read"),
    "a pickle": (pickle.dumps({"a": [1.0] * 9}), "but a pickle, which runs code"),
    "a zip of pickles": (b"PK\x03\x04" + bytes(60), "but a pickle, which runs code"),
    "text": (b"<html><body>404</body></html>", "it is no safetensors file"),
    "a list": (a_file(b"[1, 2]"), "it is no safetensors file"),
    "no json": (a_file(b"{'a': 1}"), "its header cannot be read"),
    "no utf-8": (a_file(b'{"\xff": 1}'), "its header cannot be read"),
    "nested": (a_file(b'{"a":' * 100_000), "its header cannot be read"),
    "endless number": (a_file(b'{"a": ' + b"9" * 5000 + b"}"), "its header cannot be read"),
    "not a number": (a_file(b'{"a": NaN}'), "NaN is no number"),
    "twice": (a_file(b'{"a": {}, "a": {}}'), "'a' stands in it twice"),
    "twice inside": (
        a_file(b'{"a": {"dtype": "F16", "dtype": "F32", "shape": [], "data_offsets": [0, 2]}}'),
        "'dtype' stands in it twice",
    ),
    "no entry": (a_file({"a": None}), "tensor a does not say just its dtype, shape"),
    "field missing": (a_file({"a": {"dtype": "F16", "shape": []}}), "tensor a does not say"),
    "field too many": (a_file({"a": {**OK4, "code": "x"}}, bytes(4)), "tensor a does not say"),
    "unknown type": (a_file({"a": a_tensor(0, 4, "F17")}, bytes(4)), "type 'F17', which we do"),
    "no type": (a_file({"a": a_tensor(0, 4, shape=[2]) | {"dtype": []}}), "is of type []"),
    "negative size": (a_file({"a": a_tensor(0, 4, shape=[-2])}, bytes(4)), "shape [-2]"),
    "true as a size": (a_file({"a": a_tensor(0, 2, shape=[True])}, bytes(2)), "shape [True]"),
    "fraction": (a_file({"a": a_tensor(0, 4, shape=[2.0])}, bytes(4)), "shape [2.0]"),
    "size of no number": (a_file({"a": a_tensor(0, 4, shape="2")}, bytes(4)), "shape '2'"),
    "size beyond json": (a_file({"a": a_tensor(0, 0, shape=[0, 2**53])}), "impossible shape"),
    "long key": (a_file({"k" * 10**6: None}), "kkk …"),
    "65 dimensions": (a_file({"a": a_tensor(0, 2, shape=[1] * 65)}, bytes(2)), "impossible shape"),
    "negative offset": (a_file({"a": a_tensor(-4, 0)}, bytes(4)), "offsets [-4, 0]"),
    "backwards": (a_file({"a": a_tensor(4, 0, shape=[2])}, bytes(4)), "offsets [4, 0]"),
    "three offsets": (a_file({"a": OK4 | {"data_offsets": [0, 4, 8]}}, bytes(8)), "offsets [0, 4,"),
    "too few bytes": (a_file({"a": a_tensor(0, 4, shape=[3])}, bytes(4)), "needs 6 bytes for F16"),
    "huge product": (a_file({"a": a_tensor(0, 4, shape=[2**52] * 40)}, bytes(4)), "a needs"),
    "beyond the end": (a_file({"a": OK4}, bytes(3)), "it is cut short: a ends at byte"),
    "overlap": (a_file({"a": OK4, "b": a_tensor(2, 6)}, bytes(6)), "tensors a and b overlap"),
    "same place": (a_file({"a": OK4, "b": OK4}, bytes(4)), "tensors a and b overlap"),
    "hole": (a_file({"a": OK4, "b": a_tensor(6, 8)}, bytes(8)), "2 bytes before b belong to no"),
    "hole at first": (a_file({"a": a_tensor(2, 4)}, bytes(4)), "2 bytes before a belong to no"),
    "more behind": (a_file({"a": OK4}, bytes(9)), "5 bytes behind the last tensor belong to none"),
    "metadata of numbers": (a_file({"__metadata__": {"a": 1}}), "__metadata__ is no map from text"),
    "metadata of nothing": (a_file({"__metadata__": None}), "__metadata__ is no map from text"),
    "half a letter": (a_file(b'{"\\ud800": {}}'), "cannot be printed"),
    "newline in a key": (a_file(b'{"a\\nb": {}}'), "the key 'a\\nb' cannot be printed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_by_name_with_the_reason(tmp_path: Path, name: str) -> None:
    content, why = BAD[name]
    path = tmp_path / "unet.safetensors"
    path.write_bytes(content)

    with pytest.raises(Refused) as refusal:
        read(path)

    assert refusal.value.message.startswith(f"{path} is refused: ")
    assert why in refusal.value.message
    assert len(refusal.value.message) < 1000
    assert "restore it, or delete it" in refusal.value.help
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"gone\.safetensors does not exist") as refusal:
        read(tmp_path / "gone.safetensors")
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS

    with pytest.raises(Refused, match=r"ns/gone does not exist"):
        object_bytes(FolderStore(tmp_path), "ns/gone")


SHAPES = st.lists(st.integers(0, 4), max_size=3)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda key: key.isprintable() and key != "__metadata__"
)
DTYPES = st.sampled_from([np.float16, np.float32, np.int64, np.uint8])
TENSORS = st.dictionaries(
    NAMES,
    st.tuples(SHAPES, DTYPES, st.integers(0, 100)).map(
        lambda drawn: np.full(drawn[0], drawn[2], drawn[1])
    ),
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(tensors=TENSORS)
def test_the_safetensors_package_reads_the_same_from_the_canonical_file(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, np.ndarray[Any, Any]]
) -> None:
    source = tmp_path_factory.mktemp("files") / "source.safetensors"
    target = source.with_name("target.safetensors")
    source.write_bytes(save(tensors, metadata={"format": "pt"}))

    digest = canonicalise(source, target)

    assert digest == digest_of_bytes(target.read_bytes())
    with safe_open(target, "numpy") as file:
        assert file.metadata() is None
        assert set(file.keys()) == set(tensors)
        for key, tensor in tensors.items():
            loaded = file.get_tensor(key)
            assert loaded.dtype == tensor.dtype
            assert loaded.shape == tensor.shape
            assert loaded.tobytes() == tensor.tobytes()
    header = read(target)
    assert [span.key for span in header.spans] == sorted(tensors)
    assert [span.offset for span in header.spans] == sorted(s.offset for s in header.spans)
    assert header == canonical_header(header.tensors)
    assert header.data_offset % 8 == 0
    assert target.read_bytes()[: header.data_offset] == header_bytes(header)


def test_the_same_tensors_make_the_same_canonical_file(tmp_path: Path) -> None:
    ones, two = np.arange(3, dtype=np.float16), np.ones((2, 2), np.float16)
    for name, tensors, metadata in [
        ("x", {"a": ones, "b": two}, None),
        ("y", {"b": two, "a": ones}, {"format": "pt"}),
    ]:
        (tmp_path / name).write_bytes(save(tensors, metadata))
        canonicalise(tmp_path / name, tmp_path / name)

    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_the_canonical_form_is_fixed() -> None:
    header = canonical_header([("b", "F32", (1,)), ("a", "F16", (2, 1))])

    assert header_bytes(header)[8:].decode().rstrip(" ") == (
        '{"a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},'
        '"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    )
    begin = header.data_offset
    assert header == Header(
        (TensorSpan("a", "F16", (2, 1), begin, 4), TensorSpan("b", "F32", (1,), begin + 4, 4)),
        begin,
        begin + 8,
    )


def test_a_refused_source_leaves_no_target(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"{}")

    with pytest.raises(Refused, match="is refused"):
        canonicalise(tmp_path / "bad", tmp_path / "new")

    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


VALID = save(
    {"conv.weight": np.ones((2, 3), np.float16), "conv.bias": np.zeros(3, np.float32)},
    metadata={"format": "pt"},
)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, len(VALID) - 1), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, len(VALID) - 1), st.integers(1, 40)),
        st.tuples(st.just("add"), st.integers(0, len(VALID)), st.integers(0, 255)),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(edits=EDITS)
def test_an_edited_file_is_read_like_the_package_or_refused(
    edits: list[tuple[str, int, int]],
) -> None:
    data = bytearray(VALID)
    for kind, at, value in edits:
        if kind == "set" and at < len(data):
            data[at] = value
        elif kind == "cut":
            del data[at : at + value]
        elif kind == "add":
            data.insert(at, value)

    header, refusal = read_or_refuse(bytes(data))

    if refusal:
        assert refusal.exit_code == ExitCode.BAD_WEIGHTS
        assert refusal.message.startswith("edited is refused: ")
    if header:  # The safetensors package reads the same.
        tensors = deserialize(bytes(data))  # type: ignore[no-untyped-call]
        theirs = {key: tuple(tensor["shape"]) for key, tensor in tensors}
        assert {span.key: span.shape for span in header.spans} == theirs


def read_or_refuse(data: bytes) -> tuple[Header | None, StockpotError | None]:
    try:
        return read_header(FileBytes("edited", len(data), BytesIO(data))), None
    except StockpotError as refusal:
        return None, refusal
