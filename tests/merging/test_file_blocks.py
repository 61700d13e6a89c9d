"""Local files that the kernel reads itself give the same bytes and errors as reads in Python."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.merging.fresh_kernel import fresh_kernel
from tests.merging.test_bad_checkpoints import refusal
from tests.merging.test_kernel import adversarial
from tests.merging.test_soup import a_file

from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode
from stockpot.merging import merge, schedule
from stockpot.merging.formats import FORMATS, Stored
from stockpot.merging.kernel import FilesToRead, PreparedMean
from stockpot.store.ranges import FileBytes

ROWS, COLUMNS = 37, 1001
"""The shape of the larger tensor: several blocks of several pieces, the last ones incomplete."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    if fresh_kernel() is None:
        pytest.skip("no C compiler, or a processor without AVX2 and F16C")
    for name, size_bytes in {"PIECE_BYTES": 1 << 12, "PIECED_BLOCK_BYTES": 1 << 14}.items():
        monkeypatch.setattr(schedule, name, size_bytes)
    monkeypatch.setattr(schedule, "NEAR_BLOCK_BYTES", 1 << 13)


def use_kernel(monkeypatch: pytest.MonkeyPatch, used: bool) -> None:
    outcome = fresh_kernel() if used else None
    monkeypatch.setattr("stockpot.merging.soup.installed", lambda: outcome)


def checkpoints(folder: Path, dtype: str = "F16", wild: bool = False) -> list[Path]:
    dice, form = np.random.default_rng(5), FORMATS[dtype]
    elements = ROWS * COLUMNS
    numbers: list[Stored]
    if wild:
        numbers = list(adversarial(dice, 5, elements, form))
    else:
        numbers = [form.rounded(0.5 + 0.1 * dice.random(elements)) for _ in range(5)]
    return [
        a_file(
            folder / f"{i}.safetensors",
            {
                "a": (dtype, (70,), values[:70].tobytes()),
                "b": (dtype, (ROWS, COLUMNS), values.tobytes()),
            },
        )
        for i, values in enumerate(numbers)
    ]


@pytest.mark.parametrize("wild", [False, True], ids=["like each other", "adversarial"])
@pytest.mark.parametrize("dtype", list(FORMATS))
def test_the_kernel_reads_all_blocks_and_gives_the_same_bytes(
    dtype: str, wild: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, weights = checkpoints(tmp_path, dtype, wild), [1, 2, 3, 1, 1]
    inputs = dict(zip(files, weights, strict=True))
    output = "fp32" if wild else None  # Adversarial numbers are too large for other types.
    use_kernel(monkeypatch, False)
    plain = merge(inputs, tmp_path / "plain.safetensors", out_dtype=output)
    averaged, read_by_python = 0, 0
    real, real_read = PreparedMean.read_into, FileBytes.read_into

    def counting(
        self: PreparedMean, out_at: int, files: FilesToRead, first: int, elements: int
    ) -> tuple[int, Stored, int]:
        nonlocal averaged
        outcome = real(self, out_at, files, first, elements)
        averaged += outcome[0]
        return outcome

    def counting_read(self: FileBytes, offset: int, buffer: memoryview) -> int:
        nonlocal read_by_python
        read_by_python += len(buffer)
        return real_read(self, offset, buffer)

    use_kernel(monkeypatch, True)
    monkeypatch.setattr(PreparedMean, "read_into", counting)
    monkeypatch.setattr(FileBytes, "read_into", counting_read)
    made = merge(inputs, tmp_path / "made.safetensors", out_dtype=output, threads=1)

    assert (averaged, read_by_python) == (70 + ROWS * COLUMNS, 0)
    assert made.digest == plain.digest
    assert digest_of_bytes((tmp_path / "made.safetensors").read_bytes()) == plain.digest
    for threads in (2, 3):
        again = merge(inputs, tmp_path / "x.safetensors", out_dtype=output, threads=threads)
        assert again.digest == plain.digest


def once(change: Callable[[], None]) -> Callable[[int, int], None]:
    """Return a progress callback that calls `change` when the first block is done."""
    done: list[int] = []

    def progress(at: int, total: int) -> None:
        if not done:
            assert at < total / 2
            change()
        done.append(at)

    return progress


def descriptor_of(path: Path) -> int:
    for name in os.listdir("/proc/self/fd"):
        link = Path("/proc/self/fd", name)
        if os.path.lexists(link) and os.readlink(link) == str(path):
            return int(name)
    raise AssertionError(f"{path} is not open")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_truncated_during_the_merge_gives_the_same_error(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = []
    for used in (True, False):
        files = checkpoints(tmp_path)
        end = files[3].stat().st_size - 1000
        use_kernel(monkeypatch, used)

        error = refusal(
            files,
            tmp_path / "soup.safetensors",
            threads=threads,
            progress=once(lambda at=files[3], end=end: os.truncate(at, end)),
        )

        assert error.exit_code == ExitCode.BAD_WEIGHTS
        assert error.message.startswith(f"{files[3]} is cut short: it ends at byte {end},")
        errors.append((error.message, error.help))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_read_error_during_the_merge_gives_the_same_error(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, errors = checkpoints(tmp_path), []

    def fail() -> None:
        broken = os.open(tmp_path, os.O_RDONLY)  # To read a folder is an error: EISDIR.
        os.dup2(broken, descriptor_of(files[3]))
        os.close(broken)

    for used in (True, False):
        use_kernel(monkeypatch, used)

        error = refusal(files, tmp_path / "soup.safetensors", threads=threads, progress=once(fail))

        assert error.exit_code == ExitCode.STORAGE
        assert str(files[3]) in error.message
        errors.append((error.message, error.help))
    assert errors[0] == errors[1]


def test_a_file_replaced_during_the_merge_is_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_kernel(monkeypatch, True)
    files = checkpoints(tmp_path)
    before = merge(files, tmp_path / "before.safetensors")
    other = tmp_path / "other"
    other.write_bytes(b"short")

    made = merge(
        files,
        tmp_path / "made.safetensors",
        progress=once(lambda: os.replace(other, files[3])),
    )

    assert files[3].read_bytes() == b"short"
    assert made.digest == before.digest


@pytest.mark.parametrize("element", [0, 2047, 2048, 20_000, ROWS * COLUMNS - 1])
def test_a_nan_is_reported_in_any_block(
    element: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = checkpoints(tmp_path)
    with files[2].open("r+b") as file:
        file.seek(-2 * (ROWS * COLUMNS - element), os.SEEK_END)
        file.write(np.float16("nan").tobytes())

    for used in (True, False):
        use_kernel(monkeypatch, used)
        error = refusal(files, tmp_path / "soup.safetensors")
        where = [element // COLUMNS, element % COLUMNS]
        assert (
            error.message == f"{files[2]} is refused: tensor b has a NaN or an infinity at {where}"
        )


def test_a_piece_whose_read_was_interrupted_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As at a signal, the kernel gives up before a piece, and Python reads it.
    use_kernel(monkeypatch, True)
    files = checkpoints(tmp_path)
    before = merge(files, tmp_path / "before.safetensors")
    real = PreparedMean.read_into
    calls = 0

    def interrupted(
        self: PreparedMean, out_at: int, files: FilesToRead, first: int, elements: int
    ) -> tuple[int, Stored, int]:
        nonlocal calls
        calls += 1
        if calls % 3:
            return real(self, out_at, files, first, elements)
        return 0, np.empty(0, np.uint32), 0

    monkeypatch.setattr(PreparedMean, "read_into", interrupted)

    assert merge(files, tmp_path / "made.safetensors").digest == before.digest
    assert calls > 3
