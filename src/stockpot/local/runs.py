"""Runs as child processes: the port `Runs`, in a folder."""

import json
from dataclasses import replace
from pathlib import Path

from stockpot.api.results import InvalidResult, PurgeResult, read_result
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import RunSpec, kind_of_spec, shards_of_spec
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID
from stockpot.core.runs import Failure, Run, RunName
from stockpot.local.processes import Process
from stockpot.store.atomic import write_whole


class ProcessRuns:
    """The port `Runs` for one soup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self, *, fresh: bool = True) -> tuple[Run, ...]:
        """List every run. There is no cache, so `fresh` has no effect."""
        del fresh
        if not self._folder.is_dir():
            return ()
        return tuple(
            _run_of(Process(folder)) for folder in sorted(self._folder.iterdir()) if folder.is_dir()
        )

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Start a run, unless one of the name exists."""
        process = self.process(name)
        if process.spec.exists():
            return
        pairs = [list(ingredient) for ingredient in sorted(lineage)]
        # The lineage of its output is recorded before the run can write any.
        write_whole(process.folder / "lineage.json", json.dumps(pairs).encode())
        process.start(spec)

    def end(self, name: RunName) -> None:
        """End a run, wait for its last process, and remove its folder."""
        process = self.process(name)
        process.end()
        process.forget()

    def process(self, name: str) -> Process:
        """The process of a run."""
        return Process(self._folder / name)

    def retry_failed(self) -> None:
        """Remove failed runs, and purges with residuals, so that they are tried again.

        Each `stockpot local apply` and `delete` does so.
        """
        for run in self.list():
            has_residuals = isinstance(run.result, PurgeResult) and run.result.residual_count
            if run.failure or has_residuals:
                self.process(run.name).forget()


def _run_of(process: Process) -> Run:
    kind, about = _kind_and_shards(process)
    run = Run(RunName(process.folder.name), kind, _lineage(process), about=about)
    if process.is_running:
        return run
    message = process.read_result()
    if message is None:
        return replace(run, failure=Failure(None, "it was killed"))
    if message.problem:
        problem = message.problem
        failure = Failure(problem.exit_code, problem.message, problem.help)
        return replace(run, failure=failure)
    try:
        return replace(run, result=read_result(kind, message))
    except InvalidResult as error:
        return replace(run, failure=Failure(None, error.message, error.help))


def _kind_and_shards(process: Process) -> tuple[RunKind, frozenset[ShardUID]]:
    try:
        spec = json.loads(process.spec.read_bytes())
    except FileNotFoundError:
        return RunKind.UNKNOWN, frozenset()  # It was never started.
    return kind_of_spec(spec), frozenset(map(ShardUID, shards_of_spec(spec)))


def _lineage(process: Process) -> Lineage:
    try:
        pairs = json.loads((process.folder / "lineage.json").read_bytes())
    except FileNotFoundError:
        return frozenset()  # It was never started.
    return frozenset(Ingredient(ShardUID(shard), Digest(key)) for shard, key in pairs)
