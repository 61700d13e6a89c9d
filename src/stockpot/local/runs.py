"""Runs as child processes: the port `Runs`, in a folder."""

import json
from pathlib import Path

from stockpot.api.runspec import RunSpec
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID
from stockpot.core.world import Failure, Run, RunName
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
    name, lineage = RunName(process.folder.name), _lineage(process)
    if process.is_running:
        return Run(name, lineage)
    said = process.read_result()
    if said is None:
        return Run(name, lineage, failure=Failure(None, "it was killed"))
    if said.problem:
        problem = said.problem
        return Run(name, lineage, failure=Failure(problem.exit_code, problem.message, problem.help))
    return Run(name, lineage, result=said)


def _lineage(process: Process) -> Lineage:
    try:
        pairs = json.loads((process.folder / "lineage.json").read_bytes())
    except FileNotFoundError:
        return frozenset()  # It was never started.
    return frozenset(Ingredient(ShardUID(shard), Digest(key)) for shard, key in pairs)
