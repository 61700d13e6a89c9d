"""Runs as child processes: the port `Runs`, in a folder."""

import json
from dataclasses import replace
from pathlib import Path

from stockpot.api.runspec import RunSpec, shards_of_spec
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID
from stockpot.core.runs import Failure, Run, RunName
from stockpot.local.processes import Process
from stockpot.store.atomic import write_whole


class ProcessRuns:
    """The runs of one soup."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self, *, fresh: bool = True) -> tuple[Run, ...]:
        """See every run: a folder has no cache to look past."""
        del fresh
        if not self._folder.is_dir():
            return ()
        return tuple(
            _seen(Process(folder)) for folder in sorted(self._folder.iterdir()) if folder.is_dir()
        )

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Start it, unless one of the name exists."""
        process = self.process(name)
        if process.spec.exists():
            return
        pairs = [list(one) for one in sorted(lineage)]
        # What it may write is known before it can write anything.
        write_whole(process.folder / "lineage.json", json.dumps(pairs).encode())
        process.start(spec)

    def end(self, name: RunName) -> None:
        """End it, wait for its last process, and forget it."""
        process = self.process(name)
        process.end()
        process.forget()

    def process(self, name: str) -> Process:
        """The process of a run."""
        return Process(self._folder / name)

    def retry_failed(self) -> None:
        """Forget what failed, and purges that left something, so that they are tried again.

        A person asks for it by applying again.
        """
        for run in self.list():
            left = run.result and run.result.figures.get("residuals", "0") != "0"
            if run.failure or (left and run.name.startswith("purge-")):
                self.process(run.name).forget()


def _seen(process: Process) -> Run:
    run = Run(RunName(process.folder.name), _lineage(process), about=_about(process))
    if process.is_running:
        return run
    said = process.read_result()
    if said is None:
        return replace(run, failure=Failure(None, "it was killed"))
    if said.problem:
        problem = said.problem
        failure = Failure(problem.exit_code, problem.message, problem.help)
        return replace(run, failure=failure)
    return replace(run, result=said)


def _about(process: Process) -> frozenset[ShardUID]:
    try:
        spec = json.loads(process.spec.read_bytes())
    except FileNotFoundError:
        return frozenset()  # It was never started.
    return frozenset(map(ShardUID, shards_of_spec(spec)))


def _lineage(process: Process) -> Lineage:
    try:
        pairs = json.loads((process.folder / "lineage.json").read_bytes())
    except FileNotFoundError:
        return frozenset()  # It was never started.
    return frozenset(Ingredient(ShardUID(shard), Digest(key)) for shard, key in pairs)
