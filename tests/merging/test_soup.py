"""`merge`, `verify` and `diff` on files, folders and indices, and weights as text."""

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.commands import stockpot
from tests.merging.fresh_kernel import fresh_kernel
from tests.merging.ingredients import some_tensors

from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import diff, merge, verify
from stockpot.merging.checkpoints import INDEX
from stockpot.merging.weights import parse_weight, parse_weighted_path, whole_weights

Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes]]


def a_file(path: Path, tensors: Tensors, order: list[str] | None = None, pad: int = 0) -> Path:
    """Write tensors in any order, with a header of any length and with metadata."""
    offset, entries = 0, {}
    for key in order or sorted(tensors):
        dtype, shape, data = tensors[key]
        entries[key] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
    document = {"__metadata__": {"format": "pt"}, **entries}
    return raw_file(path, document, b"".join(tensors[key][2] for key in entries), pad)


def raw_file(path: Path, document: object, data: bytes, pad: int = 0) -> Path:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * pad
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def some_files(folder: Path, count: int = 3, dtype: str = "F16") -> list[Path]:
    shapes = {"a": (3, 50), "b": (70,), "c": (), "empty": (0, 4)}
    return [
        a_file(folder / f"{i}.safetensors", some_tensors(i, dtype, shapes)) for i in range(count)
    ]


@pytest.fixture
def kernelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockpot.merging.soup.installed", fresh_kernel)


def test_weights_are_parsed_exactly() -> None:
    assert parse_weighted_path("a.safetensors@0.1") == ("a.safetensors", Fraction(1, 10))
    assert parse_weighted_path("a.safetensors@1/3") == ("a.safetensors", Fraction(1, 3))
    assert parse_weighted_path("a.safetensors@5e-3") == ("a.safetensors", Fraction(1, 200))
    assert parse_weighted_path("me@home/a.safetensors") == ("me@home/a.safetensors", 1)
    assert parse_weighted_path("s3://b/a@v2.safetensors") == ("s3://b/a@v2.safetensors", 1)
    assert whole_weights([parse_weight("0.3"), parse_weight("0.7")]) == [3, 7]
    assert whole_weights([parse_weight("1/3"), parse_weight(2), parse_weight("0")]) == [1, 6, 0]


@pytest.mark.parametrize(
    "weight", ["-1", "1e30", "1e-30", "0x2", "nan", "1/0", "", 0.5, True, None]
)
def test_an_invalid_weight_is_refused(weight: Any) -> None:
    with pytest.raises(StockpotError) as caught:
        parse_weight(weight)

    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.usefixtures("kernelled")
def test_any_order_thread_count_layout_and_packing_gives_the_same_bytes(tmp_path: Path) -> None:
    shapes = {f"layer.{i}": (i + 1, 37) for i in range(9)}
    tensors = [some_tensors(i, "F16", shapes) for i in range(4)]
    plain = [a_file(tmp_path / f"p{i}.safetensors", content) for i, content in enumerate(tensors)]
    weights = ["1", "0.5", "0.25", "3"]
    first = merge(dict(zip(plain, weights, strict=True)), tmp_path / "first.safetensors")
    dice = random.Random(1)

    for number in range(6):
        packed: dict[Any, Any] = {}
        for i in dice.sample(range(4), 4):
            order = dice.sample(sorted(tensors[i]), 9)
            folder = tmp_path / f"{number}-{i}"
            folder.mkdir()
            if dice.random() < 0.5:
                where = a_file(folder / "x.safetensors", tensors[i], order, pad=dice.randrange(20))
            else:
                where = folder
                halves = {"m1.safetensors": order[:4], "m2.safetensors": order[4:]}
                for name, keys in halves.items():
                    a_file(folder / name, {key: tensors[i][key] for key in keys}, keys)
                index = {key: name for name, keys in halves.items() for key in keys}
                (folder / f"m{INDEX}").write_text(json.dumps({"weight_map": index}))
            packed[where] = weights[i]
        threads = dice.randint(1, 5)
        again = merge(packed, tmp_path / f"{number}.safetensors", threads=threads, verified=True)
        assert again.digest == first.digest

    assert digest_of_bytes((tmp_path / "first.safetensors").read_bytes()) == first.digest
    assert oct((tmp_path / "first.safetensors").stat().st_mode & 0o777) == "0o644"


def test_checkpoints_of_weight_zero_are_left_out(tmp_path: Path) -> None:
    a, b, c = some_files(tmp_path)

    with_zero = merge({a: 1, b: "0", c: 2}, tmp_path / "x.safetensors")
    without = merge({a: 1, c: 2}, tmp_path / "y.safetensors")

    assert with_zero.digest == without.digest
    assert with_zero.weights == ((str(a), 1), (str(c), 2))


def test_a_soup_may_be_named_by_its_digest(tmp_path: Path) -> None:
    made = merge(some_files(tmp_path), tmp_path / "soup-{digest}.safetensors")

    path = tmp_path / f"soup-{made.digest.removeprefix('sha256:')}.safetensors"
    assert made.path == str(path)
    assert digest_of_bytes(path.read_bytes()) == made.digest
    assert made.size_bytes == path.stat().st_size


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("given", ["F16", "BF16", "F32"])
@pytest.mark.usefixtures("kernelled")
def test_every_type_is_rounded_to_every_other_and_verified(
    tmp_path: Path, given: str, dtype: str
) -> None:
    files = some_files(tmp_path, 5, given)

    made = merge(
        [(file, f"0.{i + 1}") for i, file in enumerate(files)],
        tmp_path / "soup.safetensors",
        out_dtype=dtype,
        verified=True,
    )

    weights = {file: i + 1 for i, file in enumerate(files)}
    assert verify(made.path, weights, digest=made.digest, samples=10**6) == 3 * 50 + 70 + 1


def test_verify_detects_other_weights_and_an_edited_byte(tmp_path: Path) -> None:
    files = some_files(tmp_path)
    made = merge(files, tmp_path / "soup.safetensors")

    with pytest.raises(StockpotError) as other:
        verify(made.path, {files[0]: 1, files[1]: 1, files[2]: "1.5"})
    data = bytearray(Path(made.path).read_bytes())
    data[-1] ^= 1
    Path(made.path).write_bytes(data)
    with pytest.raises(StockpotError) as edited:
        verify(made.path, files, digest=made.digest)

    for error in (other.value, edited.value):
        assert error.exit_code == ExitCode.WRONG_DIGEST
        assert "is not the mean of these checkpoints" in error.message


def test_diff_reports_differences_by_tensor(tmp_path: Path) -> None:
    tensors = some_tensors(1, "F32", {"a": (4,), "b": (2, 2), "c": (3,)})
    values = np.frombuffer(tensors["b"][2], "<f4").copy()
    values[2] += 0.5
    ids = np.arange(4, dtype="<i8")
    first = a_file(tmp_path / "1", {**tensors, "ids": ("I64", (4,), ids.tobytes())})
    other = {"a": tensors["a"], "b": ("F32", (2, 2), values.tobytes())}
    ids[3] = 9
    second = a_file(
        tmp_path / "2", {**other, "d": tensors["c"], "ids": ("I64", (4,), ids.tobytes())}, pad=3
    )

    differences = {tensor.key: tensor for tensor in diff(first, second)}

    assert [key for key, tensor in differences.items() if tensor.is_equal] == ["a"]
    assert (differences["b"].differing, differences["b"].elements) == (1, 4)
    assert abs(differences["b"].largest - 0.5) < 1e-6
    assert (differences["c"].second, differences["d"].first) == (None, None)
    assert (differences["ids"].differing, differences["ids"].elements) == (1, 4)


def test_importing_needs_neither_torch_nor_a_cluster() -> None:
    program = (
        "import sys, stockpot.merging; "
        "sys.exit(any(name in sys.modules for name in "
        "('torch', 'kubernetes', 'kopf', 'minio', 'safetensors')))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_merge_and_diff_commands_work(tmp_path: Path) -> None:
    a, b, _ = some_files(tmp_path)
    soup = tmp_path / "soup.safetensors"

    merged = stockpot("merge", a, f"{b}@0.3", "-o", soup, "--verify", "--out-dtype", "fp32")
    same, other = stockpot("diff", soup, soup), stockpot("diff", a, b)

    assert merged.returncode == ExitCode.OK, merged.stderr
    assert merged.stdout == f"{soup}  {digest_of_bytes(soup.read_bytes())}\n"
    assert verify(soup, {a: 10, b: 3}) > 0
    assert same.returncode == ExitCode.OK
    assert "no difference: 4 tensors" in same.stdout
    assert other.returncode == ExitCode.WRONG_DIGEST
    assert "3 of 4 tensors differ" in other.stdout
    assert all(len(line.split()) != 1 for line in other.stdout.splitlines())  # No name is cut.


def test_the_merge_command_reports_errors_in_a_sentence(tmp_path: Path) -> None:
    a, _, _ = some_files(tmp_path)

    nothing = stockpot("merge", f"{a}@0", "-o", tmp_path / "x")
    absent = stockpot("merge", a, tmp_path / "absent", "-o", tmp_path / "x")

    assert nothing.returncode == ExitCode.USAGE
    assert "error: the weights add up to zero" in nothing.stderr
    assert absent.returncode == ExitCode.BAD_WEIGHTS
    assert f"error: {tmp_path / 'absent'} does not exist" in absent.stderr
    assert not (tmp_path / "x").exists()
