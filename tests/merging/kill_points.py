"""Runs a workload in a process that kills itself with SIGKILL at a chosen file operation.

It counts the process's operations on files below a folder: open, rename, link, remove, and creating
and removing folders. So it can be killed before any of them, reproducibly.

    with KilledRun("stockpot.merging.run", spec, below) as killed_run:
        moments = killed_run.run_to_end()    runs it to its end: returns the number of operations
        killed_run.run_and_kill(at=17)       runs it again, and kills it before the 17th

One process loads the workload, and forks for each run: loading takes longer than running.
"""

import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from stockpot.api.runspec import RUN_SPEC, RunSpec
from stockpot.metrics.progress import Progress

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
ROOT = Path(__file__).resolve().parents[2]


class KilledRun:
    """A workload that is run and killed repeatedly; `below / "work"` is its work folder."""

    def __init__(self, module: str, spec: RunSpec, below: Path) -> None:
        (below / "work").mkdir(parents=True, exist_ok=True)
        (below / "spec.json").write_bytes(RUN_SPEC.dump_json(spec))
        paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.merging.kill_points", module, str(below)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def __enter__(self) -> "KilledRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:
            pass  # Closes its input, at whose end it exits.

    def run_to_end(self) -> int:
        """Run to the end; return the number of file operations."""
        how, moments = self._run(at=0)
        assert how == "lived"
        return moments

    def run_and_kill(self, at: int) -> None:
        """Run until it kills itself before this file operation."""
        how, moments = self._run(at)
        assert how == "killed", f"it {how}, after {moments} moments"

    def _run(self, at: int) -> tuple[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{at}\n")
        self._process.stdin.flush()
        how, moments = self._process.stdout.readline().split()
        return how, int(moments)


def main(module: str, below: str) -> None:
    """Fork and run once for each line of input."""
    verb = importlib.import_module(module).run
    spec = RUN_SPEC.validate_json((Path(below) / "spec.json").read_bytes())
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            live(verb, spec, below, int(line), writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            moments = int(pipe.read() or 0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        how = "killed" if killed else "lived" if status == 0 else "failed"
        sys.stdout.write(f"{how} {moments}\n")
        sys.stdout.flush()


def live(verb: object, spec: RunSpec, below: str, at: int, writer: int) -> None:
    """Run the workload in this (forked) process, and end the process."""
    moments = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal moments
        if event in EVENTS and str(arguments[0]).startswith(below):
            moments += 1
            if moments == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        assert callable(verb)
        verb(spec, work=Path(below) / "work", progress=Progress(), stop=threading.Event())
        os.write(writer, str(moments).encode())
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
