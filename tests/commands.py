"""Runs `stockpot`: each command in a process of its own, forked from one that has imported it.

Importing a command takes longer than most of them run. Nothing is shared: a fork has its own
directory, environment, streams and signals, and ends as an interpreter ends.
"""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]


def stockpot(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without standard input."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        outputs = stdout.fileno(), stderr.fileno()
        code = stockpot_on(outputs, arguments, os.environ, cwd or Path.cwd())
        return subprocess.CompletedProcess(arguments, code, _text(stdout), _text(stderr))


def stockpot_on(
    outputs: tuple[int, int],
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    cwd: Path,
) -> int:
    """Run a command to its end, with these descriptors as standard output and standard error.

    Returns:
        Its exit code, negative for a signal.
    """
    words = ["stockpot", *map(str, arguments)]
    files = [f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in outputs]
    return _server().run([words, str(cwd), dict(environment), *files])


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


class _Server:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.close)

    def run(self, request: Sequence[object]) -> int:
        """Run a command to its end; return its exit code."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process, which reads to the end of its input."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@functools.cache
def _server() -> _Server:
    return _Server()


def _serve() -> None:
    from stockpot.cli.main import COMMANDS, load, main

    for name in COMMANDS:
        load(name)
    for line in sys.stdin:
        words, cwd, environment, stdout, stderr = json.loads(line)
        child = os.fork()
        if not child:
            _become(cwd, environment, stdout, stderr)
            sys.argv = words
            main()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(cwd: str, environment: dict[str, str], stdout: str, stderr: str) -> None:
    """Take over the directory, environment and streams of a command."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(stdout, os.O_WRONLY), 1)
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    _serve()
