"""The process of a run: arguments, signals, progress, result; the verb itself is elsewhere.

The code depends neither on Kubernetes nor on local mode: both start the same process.
"""

import argparse
import errno
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pydantic

from stockpot.api.results import RESULTS, ResultMessage, RunResult
from stockpot.api.runspec import RUN_SPEC, RunSpec
from stockpot.errors import ExitCode, Refused, StockpotError, Transient
from stockpot.extras import extra_named
from stockpot.metrics.endpoint import serve_progress
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping, stop_on_signals
from stockpot.store.atomic import write_whole
from stockpot.store.outputs import require_regular
from stockpot.workload.environment import settle
from stockpot.workload.result import problem_of, write_result

# Imported by name, so that a purge loads no torch and the slim image needs none.
VERBS = {
    "train": "stockpot.training.run",
    "merge": "stockpot.merging.run",
    "evaluate": "stockpot.evaluation.run",
    "serve": "stockpot.serving.run",
    "purge": "stockpot.unlearning.purge",
    "sign": "stockpot.unlearning.sign",
    "find": "stockpot.unlearning.find_records",
    "compare": "stockpot.unlearning.compare_records",
}

Address = tuple[str, int]
"""Host and port; port 0 is any free one."""
ANY_PORT: Address = ("127.0.0.1", 0)
STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}


class Verb(Protocol):
    """The signature of every verb's `run`."""

    def __call__(
        self, spec: RunSpec, *, work: Path, progress: Progress, stop: threading.Event
    ) -> RunResult:
        """Carry out the RunSpec."""
        ...


def main(arguments: Sequence[str], stop: threading.Event) -> int:
    """Run one verb to its end.

    Returns:
        The exit code, as `stockpot.errors.ExitCode` says.
    """
    parser = argparse.ArgumentParser(prog="python -m stockpot.workload")
    parser.add_argument("spec", type=Path, help="a RunSpec, as JSON")
    parser.add_argument("--work", type=Path, required=True, help="a scratch folder of this run")
    parser.add_argument("--result", type=Path, help="where the RunResult goes; none: nowhere")
    parser.add_argument("--pid", type=Path, help="where to write our process id, first of all")
    parser.add_argument(
        "--progress",
        type=address,
        default=ANY_PORT,
        metavar="HOST:PORT",
        help="where /progress and /metrics answer (default: any free port of this machine)",
    )
    options = parser.parse_args(arguments)
    if options.pid:
        require_regular(options.pid)
        write_whole(options.pid, str(os.getpid()).encode())
    return _run(options.spec, options.work, options.result, options.progress, stop)


def address(text: str) -> Address:
    """Read `host:port`; an IPv6 host stands in brackets.

    Raises:
        argparse.ArgumentTypeError: The text is not an address.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT, such as 0.0.0.0:8082")
    return host, int(port)


def run(spec: Path, work: Path, result: Path) -> int:
    """Run a RunSpec's file, write its result and return the exit code. Signals end it cleanly."""
    return _run(spec, work, result, ANY_PORT, stop_on_signals())


def _run(
    spec: Path, work: Path, result: Path | None, progress: Address, stop: threading.Event
) -> int:
    try:
        if result:
            require_regular(result)
    except StockpotError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    try:
        answer = _guarded(spec, work, progress, stop).message()
    except StockpotError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        answer = ResultMessage(problem=problem_of(error.exit_code, error.message, error.help))
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        answer = ResultMessage(problem=problem_of(ExitCode.BUG, message[:1000]))
    code = answer.problem.exit_code if answer.problem else int(ExitCode.OK)
    try:
        if result:
            write_result(result, answer)
    except StockpotError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return code or int(error.exit_code)
    return code


def _guarded(spec_path: Path, work: Path, address: Address, stop: threading.Event) -> RunResult:
    spec = read_spec(spec_path)
    try:
        work.mkdir(parents=True, exist_ok=True)
        settle(work)
        progress = Progress()
        host, port = address
        with serve_progress(progress, verb=spec.verb, host=host, port=port) as url:
            write_whole(work / "progress.url", url.encode())
            # Loading torch alone takes seconds.
            raise_if_stopping(stop, "Ended when asked to, before anything was done.")
            with extra_named(f"the verb {spec.verb}"):
                verb: Verb = importlib.import_module(VERBS[spec.verb]).run
                answer = verb(spec, work=work, progress=progress, stop=stop)
        return require_own_result(spec, answer)
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        where = error.filename or work
        raise Transient(
            f"{where}: {os.strerror(error.errno or 0)}",
            help="make room, or make the folder writable, and try again",
        ) from error


def require_own_result(spec: RunSpec, answer: RunResult) -> RunResult:
    """Return a verb's answer.

    Raises:
        StockpotError: It is the result of another kind of run.
    """
    if isinstance(answer, RESULTS[spec.kind]):
        return answer
    raise StockpotError(f"a {spec.kind} run answered with a {type(answer).__name__}")


def read_spec(path: Path) -> RunSpec:
    """Read a RunSpec.

    Raises:
        Refused: The file is missing, or is not a RunSpec of this version.
    """
    try:
        return RUN_SPEC.validate_json(path.read_bytes())
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}", exit_code=ExitCode.BAD_RUN_SPEC
        ) from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(
            f"{path} is no RunSpec of this version: {where}: {first['msg']}",
            help="start the run with the version that wrote it",
            exit_code=ExitCode.BAD_RUN_SPEC,
        ) from error
