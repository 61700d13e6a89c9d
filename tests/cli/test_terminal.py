"""Colour and movement: where a terminal takes them, and nowhere else."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
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
    """One command for each way to write: a bar, a table, a spinner, an error, a list of objects."""
    shapes = {"a[bold]": (300, 70), "b": (7,)}
    one, two = (
        a_file(tmp_path / f"{i}.safetensors", some_tensors(i, "F16", shapes)) for i in range(2)
    )
    (tmp_path / "shard.yaml").write_text(SHARD)
    (tmp_path / "store").mkdir()
    return {
        "bar": ("merge", one, two, "-o", tmp_path / "soup"),
        "table": ("diff", one, two),
        "error": ("lint", tmp_path / "shard.yaml"),
        "usage": ("merge",),
        "help": ("merge", "--help"),
        "objects": ("local", "get", "--dir", tmp_path / "store"),
    }


def said_to_terminal(arguments: Sequence[str | Path], variables: Mapping[str, str]) -> bytes:
    """Run a command whose output and error are one terminal; return what came there."""
    ours, theirs = pty.openpty()
    process = started(arguments, {"TERM": "xterm-256color", **variables}, theirs)
    os.close(theirs)
    found = b""
    try:
        while data := os.read(ours, 1 << 16):
            found += data
    except OSError:  # Linux says so when nobody has the other end open any more.
        pass
    process.wait()
    os.close(ours)
    return found


def said_to_pipe(arguments: Sequence[str | Path], variables: Mapping[str, str]) -> bytes:
    process = started(arguments, variables, subprocess.PIPE)
    found, _ = process.communicate()
    assert isinstance(found, bytes)
    return found


def started(
    arguments: Sequence[str | Path], variables: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    rest = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM", "TTY_COMPATIBLE")
    }
    command = [sys.executable, "-m", "stockpot.cli", *map(str, arguments)]
    stderr = subprocess.STDOUT if output == subprocess.PIPE else output
    return subprocess.Popen(command, stdout=output, stderr=stderr, env={**rest, **variables})


@pytest.mark.parametrize("name", ["bar", "table", "error"])
def test_a_terminal_has_colour(name: str, commands: Mapping[str, Sequence[str | Path]]) -> None:
    assert ESCAPE.search(said_to_terminal(commands[name], {}))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, why) for name in ("bar", "table", "error") for why in QUIET),
        *((name, "NO_COLOR") for name in ("usage", "help", "objects")),
    ],
)
def test_who_wants_no_colour_gets_no_control_character(
    name: str, why: str, commands: Mapping[str, Sequence[str | Path]]
) -> None:
    said = said_to_terminal(commands[name], QUIET[why])

    assert said
    assert b"\x1b" not in said
    assert not set(said) & (set(range(32)) - set(b"\r\n"))


@pytest.mark.parametrize("name", ["bar", "table", "error", "objects"])
def test_a_pipe_gets_text(name: str, commands: Mapping[str, Sequence[str | Path]]) -> None:
    assert b"\x1b" not in said_to_pipe(commands[name], {"TERM": "xterm-256color"})


@pytest.mark.parametrize("name", ["bar", "table", "error"])
def test_colour_that_is_forced_moves_nothing(
    name: str, commands: Mapping[str, Sequence[str | Path]]
) -> None:
    said = said_to_pipe(commands[name], {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"})

    assert COLOUR.sub(b"", said) == ESCAPE.sub(b"", said)
    assert b"\x1b" not in COLOUR.sub(b"", said)
    assert bool(COLOUR.search(said)) == (name != "bar")


@pytest.mark.parametrize("value", ["", "0"])
def test_colour_that_is_not_forced_is_none(
    value: str, commands: Mapping[str, Sequence[str | Path]]
) -> None:
    assert b"\x1b" not in said_to_pipe(commands["table"], {"FORCE_COLOR": value})


def test_the_name_of_a_tensor_is_no_style(commands: Mapping[str, Sequence[str | Path]]) -> None:
    assert b"a[bold]" in said_to_pipe(commands["table"], {})


def test_what_a_terminal_would_obey_is_written_as_an_escape() -> None:
    assert printable("a\x1b[2Jb\x07\udce9\x9b1m\nc\td ü 日") == (
        "a\\x1b[2Jb\\x07\\udce9\\x9b1m\nc\td ü 日"
    )
    assert json.loads(json.dumps(printable("\u202e"))) == "\\u202e"
