"""Colours and progress bars are written to terminals only."""

import json
import os
import pty
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.commands import stockpot_on
from tests.merging.ingredients import some_tensors
from tests.merging.test_soup import a_file

from stockpot.cli.terminal import printable

ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
PLAIN = {"NO_COLOR": "1"}
QUIET: Mapping[str, Mapping[str, str]] = {
    "NO_COLOR": PLAIN,
    "NO_COLOR and FORCE_COLOR": {**PLAIN, "FORCE_COLOR": "1"},
    "a dumb terminal": {"TERM": "dumb"},
    "an unknown terminal": {"TERM": "unknown"},
}
SHARD = """\
apiVersion: stockpot.dev/v1alpha1
kind: DataShard
metadata: {name: food}
spec: {soupRef: {name: emoji}}
"""


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, Sequence[str | Path]]:
    """Return a command for each kind of output: bar, table, error, usage, help, list of objects."""
    shapes = {"a[bold]": (300, 70), "b": (7,)}
    first, second = (
        a_file(tmp_path / f"{i}.safetensors", some_tensors(i, "F16", shapes)) for i in range(2)
    )
    (tmp_path / "shard.yaml").write_text(SHARD)
    (tmp_path / "store").mkdir()
    return {
        "bar": ("merge", first, second, "-o", tmp_path / "soup"),
        "table": ("diff", first, second),
        "error": ("lint", tmp_path / "shard.yaml"),
        "usage": ("merge",),
        "help": ("merge", "--help"),
        "objects": ("local", "get", "--dir", tmp_path / "store"),
    }


def terminal_output(arguments: Sequence[str | Path], variables: Mapping[str, str]) -> bytes:
    """Run a command whose stdout and stderr are one terminal; return what it wrote."""
    return output(pty.openpty(), arguments, {"TERM": "xterm-256color", **variables})


def pipe_output(arguments: Sequence[str | Path], variables: Mapping[str, str]) -> bytes:
    return output(os.pipe(), arguments, variables)


def output(
    ends: tuple[int, int], arguments: Sequence[str | Path], variables: Mapping[str, str]
) -> bytes:
    """Run a command that writes to the second end; return what is read from the first."""
    ours, theirs = ends
    rest = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM", "TTY_COMPATIBLE")
    }
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(read_to_the_end, ours)
        stockpot_on((theirs, theirs), arguments, {**rest, **variables}, Path.cwd())
        os.close(theirs)
        return written.result()


def read_to_the_end(descriptor: int) -> bytes:
    written = b""
    try:
        while data := os.read(descriptor, 1 << 16):
            written += data
    except OSError:  # Linux raises EIO once the other end of a terminal is closed.
        pass
    os.close(descriptor)
    return written


@pytest.mark.parametrize("name", ["bar", "table", "error"])
def test_a_terminal_has_colour(name: str, commands: Mapping[str, Sequence[str | Path]]) -> None:
    assert ESCAPE.search(terminal_output(commands[name], {}))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, why) for name in ("bar", "table", "error") for why in QUIET),
        *((name, "NO_COLOR") for name in ("usage", "help", "objects")),
    ],
)
def test_without_colour_there_is_no_control_character(
    name: str, why: str, commands: Mapping[str, Sequence[str | Path]]
) -> None:
    output = terminal_output(commands[name], QUIET[why])

    assert output
    assert b"\x1b" not in output
    assert not set(output) & (set(range(32)) - set(b"\r\n"))


@pytest.mark.parametrize("name", ["bar", "table", "error", "objects"])
def test_a_pipe_gets_plain_text(name: str, commands: Mapping[str, Sequence[str | Path]]) -> None:
    assert b"\x1b" not in pipe_output(commands[name], {"TERM": "xterm-256color"})


@pytest.mark.parametrize("name", ["bar", "table", "error"])
def test_forced_colour_does_not_move_the_cursor(
    name: str, commands: Mapping[str, Sequence[str | Path]]
) -> None:
    output = pipe_output(commands[name], {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"})

    assert COLOUR.sub(b"", output) == ESCAPE.sub(b"", output)
    assert b"\x1b" not in COLOUR.sub(b"", output)
    assert bool(COLOUR.search(output)) == (name != "bar")


@pytest.mark.parametrize("value", ["", "0"])
def test_an_empty_or_zero_force_color_writes_no_colour(
    value: str, commands: Mapping[str, Sequence[str | Path]]
) -> None:
    assert b"\x1b" not in pipe_output(commands["table"], {"FORCE_COLOR": value})


def test_the_name_of_a_tensor_is_not_read_as_markup(
    commands: Mapping[str, Sequence[str | Path]],
) -> None:
    assert b"a[bold]" in pipe_output(commands["table"], {})


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[2Jb\x07\udce9\x9b1m\nc\td ü 日") == (
        "a\\x1b[2Jb\\x07\\udce9\\x9b1m\nc\td ü 日"
    )
    assert json.loads(json.dumps(printable("\u202e"))) == "\\u202e"
