"""One process, one verb: signals, threads, progress, result. What the verb does is elsewhere.

Nothing here knows of Kubernetes or of local mode: both start the same process.
"""

import argparse
import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

import pydantic

from stockpot.api.runspec import RUN_SPEC, Problem, RunResult, RunSpec
from stockpot.errors import ExitCode, Refused, StockpotError, Transient
from stockpot.metrics.endpoint import serve_progress
from stockpot.metrics.progress import Progress
from stockpot.store.atomic import write_whole

# Looked up by name, so that a purge loads no torch and the slim image needs none.
VERBS = {
    "train": "stockpot.training.run",
    "merge": "stockpot.merging.run",
    "evaluate": "stockpot.evaluation.run",
    "serve": "stockpot.serving.run",
    "purge": "stockpot.unlearning.purge",
    "sign": "stockpot.unlearning.sign",
}

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}


class Verb(Protocol):
    """What every verb's `run` looks like."""

    def __call__(
        self, spec: RunSpec, *, work: Path, progress: Progress, stop: threading.Event
    ) -> RunResult:
        """Do what the RunSpec says."""
        ...


def main(arguments: Sequence[str]) -> int:
    """Run one verb to its end.

    Returns:
        The exit code, as `stockpot.errors.ExitCode` says.
    """
    parser = argparse.ArgumentParser(prog="stockpot run")
    parser.add_argument("spec", type=Path, help="a RunSpec, as JSON")
    parser.add_argument("--work", type=Path, required=True, help="a scratch folder of this run")
    parser.add_argument("--result", type=Path, required=True, help="where the RunResult goes")
    parser.add_argument("--pid", type=Path, help="where to write our process id, first of all")
    told = parser.parse_args(arguments)
    if told.pid:
        write_whole(told.pid, str(os.getpid()).encode())
    return run(told.spec, told.work, told.result)


def run(spec: Path, work: Path, result: Path) -> int:
    """Run what a file says; write what came of it; say how it went."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    for name in THREADS:
        # Contended threads are 5 to 40 times slower; more than one is for whoever asks for it.
        os.environ.setdefault(name, "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        answer = _guarded(spec, work, stop)
    except StockpotError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        problem = Problem(exit_code=int(error.exit_code), message=error.message, help=error.help)
        answer = RunResult(problem=problem)
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        answer = RunResult(problem=Problem(exit_code=int(ExitCode.BUG), message=said[:1000]))
    write_whole(result, answer.model_dump_json(by_alias=True, exclude_none=True).encode())
    return answer.problem.exit_code if answer.problem else int(ExitCode.OK)


def _guarded(spec_path: Path, work: Path, stop: threading.Event) -> RunResult:
    spec = read_spec(spec_path)
    try:
        work.mkdir(parents=True, exist_ok=True)
        progress = Progress()
        with serve_progress(progress, verb=spec.verb) as url:
            write_whole(work / "progress.url", url.encode())
            verb: Verb = importlib.import_module(VERBS[spec.verb]).run
            return verb(spec, work=work, progress=progress, stop=stop)
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        where = error.filename or work
        raise Transient(
            f"{where}: {os.strerror(error.errno or 0)}",
            help="make room, or make the folder writable, and try again",
        ) from error


def read_spec(path: Path) -> RunSpec:
    """Read a RunSpec.

    Raises:
        Refused: The file is not there, or says what this version does not know.
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
