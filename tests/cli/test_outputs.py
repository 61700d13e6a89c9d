"""Files that commands write to paths given by users: each command in a process of its own."""

import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.commands import stockpot
from tests.merging.ingredients import some_tensors
from tests.merging.test_soup import a_file

from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode
from stockpot.merging import merge

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    shapes = {"a": (300, 70), "b": (7,)}
    return [a_file(folder / f"{i}.safetensors", some_tensors(i, "F16", shapes)) for i in range(2)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def expected(checkpoints: Sequence[Path], tmp_path: Path) -> bytes:
    merge(checkpoints, tmp_path / "expected")
    return (tmp_path / "expected").read_bytes()


def started(
    *arguments: str | Path, module: str = "stockpot.cli", **options: object
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, **options
    )


@as_root
@pytest.mark.parametrize("kind", ["device", "pipe", "link to a device"])
def test_a_merge_replaces_no_device_and_no_pipe(
    kind: str, checkpoints: Sequence[Path], out: Path
) -> None:
    path = out / "node"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    before = path.lstat()
    if kind == "link to a device":
        path = out / "link"
        path.symlink_to("node")

    result = stockpot("merge", *checkpoints, "-o", path)

    assert result.returncode == ExitCode.USAGE
    assert "-o -" in result.stderr or "readlink" in result.stderr
    after = (out / "node").lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (
        before.st_ino,
        before.st_mode,
        before.st_rdev,
    )


@pytest.mark.parametrize(
    "name", ["new/", "in/", "", ".", "s3://", "s3://b", "s3://b/k/", "s3:/b/k"]
)
def test_an_output_without_a_name_of_its_own_is_refused(
    name: str, checkpoints: Sequence[Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())

    result = stockpot("merge", *checkpoints, "-o", name, cwd=tmp_path)

    assert result.returncode == ExitCode.USAGE, result.stderr
    assert "  help: " in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_checkpoint_is_not_replaced_by_the_mean_of_it(checkpoints: Sequence[Path]) -> None:
    before = [path.read_bytes() for path in checkpoints]

    result = stockpot("merge", *checkpoints, "-o", checkpoints[1])
    appended = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m stockpot.cli merge "$1" -o - >> "$1"', "sh",
         checkpoints[0]], capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == appended.returncode == ExitCode.USAGE
    assert "is one of the inputs" in result.stderr
    assert [path.read_bytes() for path in checkpoints] == before


@pytest.mark.parametrize("part", ["m-1.safetensors", "m.safetensors.index.json"])
def test_a_part_of_a_checkpoint_is_not_replaced(
    part: str, checkpoints: Sequence[Path], out: Path
) -> None:
    checkpoints[0].rename(out / "m-1.safetensors")
    index = {"weight_map": dict.fromkeys(("a", "b"), "m-1.safetensors")}
    (out / "m.safetensors.index.json").write_text(json.dumps(index))

    result = stockpot("merge", out, "-o", out / part)

    assert result.returncode == ExitCode.USAGE
    assert json.loads((out / "m.safetensors.index.json").read_text()) == index


def test_a_dash_is_standard_output(
    checkpoints: Sequence[Path], expected: bytes, tmp_path: Path
) -> None:
    with started("merge", *checkpoints, "-o", "-", stdout=-1, stderr=-1) as process:
        stdout, stderr = process.communicate()
    verified = stockpot("merge", *checkpoints, "-o", "-", "--verify", cwd=tmp_path)

    assert process.returncode == ExitCode.OK, stderr
    assert stdout == expected
    assert f"-  {digest_of_bytes(expected)}" in stderr.decode()
    assert verified.returncode == ExitCode.USAGE
    assert verified.stdout == ""
    assert not (tmp_path / "-").exists()


def test_weights_are_not_written_to_a_terminal(checkpoints: Sequence[Path]) -> None:
    ours, theirs = pty.openpty()
    with started("merge", *checkpoints, "-o", "-", stdout=theirs, stderr=-1) as process:
        _, stderr = process.communicate()
    os.close(ours)
    os.close(theirs)

    assert process.returncode == ExitCode.USAGE
    assert "standard output is a terminal" in stderr.decode()


@pytest.mark.parametrize(
    "arguments", [("merge", "0", "-o", "-"), ("merge", "0", "-o", "soup"), ("diff", "0", "1")]
)
@pytest.mark.parametrize("where", ["a closed pipe", "/dev/full"])
def test_output_that_cannot_be_written_is_an_error_and_no_traceback(
    arguments: tuple[str, ...], where: str, checkpoints: Sequence[Path], tmp_path: Path
) -> None:
    named = {"0": checkpoints[0], "1": checkpoints[1], "soup": tmp_path / "soup"}
    reader, writer = os.pipe()
    os.close(reader)
    target = os.open(where, os.O_WRONLY) if where == "/dev/full" else writer

    with started(
        *(named.get(argument, argument) for argument in arguments), stdout=target, stderr=-1
    ) as process:
        _, stderr = process.communicate()
    for descriptor in {target, writer}:
        os.close(descriptor)

    assert process.returncode == ExitCode.STORAGE
    assert stderr.decode().startswith("error: ") or arguments[0] == "merge"
    assert "error: " in stderr.decode()
    assert "Traceback" not in stderr.decode()
    assert "Exception ignored" not in stderr.decode()


@pytest.mark.parametrize("way", ["unnamed", "hidden"])
@pytest.mark.parametrize(
    ("threads", "number"),
    [(1, signal.SIGTERM), (1, signal.SIGHUP), (1, signal.SIGINT), (2, signal.SIGTERM)],
)
def test_a_merge_that_is_interrupted_leaves_nothing(
    way: str, threads: int, number: int, checkpoints: Sequence[Path], out: Path
) -> None:
    with started(
        way, "merge", *checkpoints, "-o", out / "new" / "soup", "--threads", threads,
        module="tests.cli.interruptible", stderr=-1,
        # Ignored signals are inherited: SIGINT in the background of a shell, SIGHUP from nohup.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline() == b"under way\n"
        process.send_signal(number)
        stderr = process.stderr.read().decode()

    assert process.returncode == ExitCode.INTERRUPTED
    assert stderr.strip() == "error: interrupted"
    assert list(out.iterdir()) == []


def test_a_merge_continues_where_sighup_is_ignored(checkpoints: Sequence[Path], out: Path) -> None:
    with started(
        "unnamed", "merge", *checkpoints, "-o", out / "soup", "--threads", 1,
        module="tests.cli.interruptible", stderr=-1,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline() == b"under way\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)

        assert process.wait() == ExitCode.INTERRUPTED


@pytest.mark.parametrize("way", ["unnamed", "hidden"])
@pytest.mark.parametrize("standing", [False, True])
def test_the_next_merge_removes_what_a_killed_merge_left(
    way: str, standing: bool, checkpoints: Sequence[Path], out: Path, expected: bytes
) -> None:
    if standing:
        (out / "soup").write_bytes(b"old")
    with started(
        way, "merge", *checkpoints, "-o", out / "soup", "--threads", 1,
        module="tests.cli.interruptible", stderr=-1,
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline() == b"under way\n"
        process.kill()
    left = [path.name for path in out.iterdir() if path.name != "soup"]

    result = stockpot("merge", *checkpoints, "-o", out / "soup")

    assert len(left) == (1 if way == "hidden" else 0)
    assert result.returncode == ExitCode.OK, result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"soup": expected}


def test_concurrent_merges_to_one_name_leave_one_file_and_report_the_rest(
    checkpoints: Sequence[Path], out: Path, expected: bytes
) -> None:
    processes = [
        started("merge", *checkpoints, "-o", out / "soup", stdout=-1, stderr=-1) for _ in range(4)
    ]
    messages = [process.communicate()[1].decode() for process in processes]

    codes = [process.returncode for process in processes]
    assert ExitCode.OK in codes
    assert set(codes) <= {ExitCode.OK, ExitCode.STORAGE}, messages
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"soup": expected}


def test_a_name_that_a_digest_makes_too_long_is_refused_before_reading(out: Path) -> None:
    result = stockpot("merge", out / "absent", "-o", out / ("x" * 200 + "{digest}"))

    assert result.returncode == ExitCode.STORAGE
    assert "choose a shorter name" in result.stderr


def test_a_soup_named_by_its_digest_replaces_a_file_of_that_name(
    checkpoints: Sequence[Path], out: Path, expected: bytes
) -> None:
    digest = digest_of_bytes(expected).removeprefix("sha256:")
    (out / digest).write_bytes(b"old")
    (out / digest).chmod(0o600)

    first = stockpot("merge", *checkpoints, "-o", out / "{digest}")
    (out / digest).unlink()
    (out / digest).symlink_to("absent")
    second = stockpot("merge", *checkpoints, "-o", out / "{digest}")

    assert (first.returncode, second.returncode) == (ExitCode.OK, ExitCode.USAGE)
    assert [path.name for path in out.iterdir()] == [digest]
    assert os.readlink(out / digest) == "absent"


def test_a_name_that_is_not_text_is_printed_unchanged(
    checkpoints: Sequence[Path], out: Path, expected: bytes
) -> None:
    path = os.fsencode(out / "caf") + b"\xe9"
    arguments = ["merge", *map(os.fsencode, checkpoints), "-o", path]

    made = subprocess.run(
        [sys.executable, "-m", "stockpot.cli", *arguments], capture_output=True, check=False
    )
    refused = subprocess.run(
        [sys.executable, "-m", "stockpot.cli", "merge", path + b"\x1b[2J", "-o", path],
        capture_output=True,
        check=False,
    )

    assert made.returncode == ExitCode.OK, made.stderr
    assert made.stdout == path + b"  " + digest_of_bytes(expected).encode() + b"\n"
    assert refused.returncode == ExitCode.BAD_WEIGHTS
    assert b"\\udce9\\x1b[2J does not exist" in refused.stderr


@pytest.mark.parametrize("standing", ["link", "pipe", "folder", "file"])
@pytest.mark.parametrize("half", ["key", "key.pub"])
def test_a_key_is_only_written_to_a_new_file(standing: str, half: str, out: Path) -> None:
    path = out / half
    match standing:
        case "link":
            path.symlink_to("absent")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "file":
            path.write_bytes(b"precious")
    before = path.lstat()

    result = stockpot("keygen", "--out", out / "key")

    assert result.returncode == ExitCode.USAGE
    assert (path.lstat().st_ino, path.lstat().st_size) == (before.st_ino, before.st_size)
    assert [entry.name for entry in out.iterdir()] == [half]


@pytest.mark.parametrize(
    ("command", "option"), [("keygen", "--out"), ("anchor", "--to"), ("audit", "--html")]
)
@pytest.mark.parametrize("name", ["-", "new/", "link", "pipe", ""])
def test_a_refused_output_is_reported_before_reading(
    command: str, option: str, name: str, out: Path
) -> None:
    (out / "link").symlink_to("absent")
    os.mkfifo(out / "pipe")
    absent = () if command == "keygen" else ("soup/x", "--store", "/absent", "--key", "/absent")

    result = stockpot(command, *absent, option, name, cwd=out)

    assert result.returncode == ExitCode.USAGE, result.stderr
    assert "absent" not in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["link", "pipe"]


def test_a_result_is_not_written_to_a_pipe(out: Path) -> None:
    os.mkfifo(out / "result")

    result = stockpot(
        "run", out / "absent.json", "--work", out / "work", "--result", out / "result"
    )

    assert result.returncode == ExitCode.USAGE
    assert "is a pipe" in result.stderr
    assert [path.name for path in out.iterdir()] == ["result"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("merge", "IN", "-o", "soup"),
        ("merge", "IN", "-o", "new/soup"),
        ("merge", "IN", "-o", "soup-{digest}"),
        ("keygen", "--out", "key"),
        ("opening", "uid", "record", "--store", "store"),
        ("replay", "soup/x", "--store", "store", "--key", "key"),
    ],
)
def test_without_a_working_directory_a_command_ends_at_once(
    arguments: tuple[str, ...], checkpoints: Sequence[Path], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = [sys.executable, "-m", "stockpot.cli", *arguments]
    command = [str(checkpoints[0]) if word == "IN" else word for word in command]
    script = 'cd "$0" && rmdir "$0" && exec "$@"'

    result = subprocess.run(
        ["sh", "-c", script, gone, *command], capture_output=True, text=True, check=False,
        timeout=30, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip

    assert result.returncode == ExitCode.STORAGE, result.stderr
    assert "working directory" in result.stderr
    assert "Traceback" not in result.stderr
