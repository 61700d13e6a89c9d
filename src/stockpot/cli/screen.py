"""Prints the progress of `stockpot local`: bars on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from stockpot.cli import terminal
from stockpot.core import actions as act
from stockpot.core import run_starts as starts
from stockpot.core.plan import Plan
from stockpot.core.render import describe
from stockpot.core.runs import RunName
from stockpot.core.world import World
from stockpot.local.session import LocalSnapshot, Session, Watcher, request_progress
from stockpot.metrics.progress import Snapshot


class Screen:
    """Prints the actions of each round, and a bar for each active run."""

    def __init__(self, console: Console, bars: Progress | None) -> None:
        self._console = console
        self._bars = bars
        self._tasks: dict[RunName, TaskID] = {}
        self._started_s = time.monotonic()
        self._names: dict[str, str] = {}

    def _label(self, run: RunName) -> str:
        """Return a readable name of a run, as `train cats`, without UID and digest."""
        verb, _, rest = run.partition("-")
        name = self._names.get(rest[:8])
        return f"{verb} {name}" if name else run

    def __call__(self, snapshot: LocalSnapshot) -> None:
        """Print the actions of one round, and update the bars."""
        assessment = snapshot.round.assessment
        if assessment:
            self._names = {uid[:8]: name for uid, name in assessment.inputs.world.names.items()}
            for line in action_lines(snapshot.round.plan, assessment.inputs.world):
                self.say(line)
        if self._bars:
            self.show(snapshot.progress)

    def say(self, line: str) -> None:
        """Print a line with the time since the start."""
        since_s = time.monotonic() - self._started_s
        self._console.print(f"[dim]{since_s:6.1f}s[/]  {line}", highlight=False, soft_wrap=True)

    def show(self, snapshots: Mapping[RunName, Snapshot]) -> None:
        """Update the bars: add those of new runs, remove those of ended ones."""
        assert self._bars is not None
        for name in [name for name in self._tasks if name not in snapshots]:
            self._bars.remove_task(self._tasks.pop(name))
        for name, now in snapshots.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(
                    self._label(name), total=None, phase="", count="", left=""
                )
            loss = f"loss {now.figures['loss']:.3f}" if "loss" in now.figures else ""
            self._bars.update(
                self._tasks[name],
                total=now.total_steps or None,
                completed=now.step,
                phase=now.phase,
                count=f"{now.step}/{now.total_steps}" if now.total_steps else "",
                left=f"{now.eta_s:.0f} s left {loss}" if now.eta_s is not None else loss,
            )


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("        {task.description:<28}"),
        TextColumn("[cyan]{task.fields[phase]:<12}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]:>9}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[left]}"),
        console=console,
        transient=True,
    )


@contextmanager
def progress_watcher(console: Console | None = None) -> Iterator[Watcher]:
    """Yield a watcher that prints rounds; the bars end with the context."""
    out = console or terminal.console(markup=True)
    if not out.is_terminal:
        yield Screen(out, None)
        return
    with _bars(out) as bars:
        yield Screen(out, bars)


def follow_progress(session: Session) -> None:
    """Show the progress of the runs of a folder, until none is active."""
    console = terminal.console(markup=True)
    with _bars(console) as bars:
        screen = Screen(console, bars)
        while snapshots := _progress(session):
            screen.show(snapshots)
            time.sleep(0.25)
    console.print("no run is active")


def _progress(session: Session) -> dict[RunName, Snapshot]:
    return {
        run.name: request_progress(session.runs(key).process(run.name)) or Snapshot()
        for key in session.objects.soup_keys()
        for run in session.runs(key).list()
        if run.is_active
    }


SHOWN = (
    starts.StartTraining,
    act.RecordIngredient,
    starts.StartMerge,
    starts.StartEvaluation,
    act.Promote,
    act.Commit,
    act.Scale,
    act.RecordDeletion,
    starts.StartPurge,
    starts.StartSigning,
    act.RecordReceipt,
    act.ReleaseShard,
)
"""Actions that are printed; the others are intermediate steps."""


def action_lines(plan: Plan, world: World) -> Iterator[str]:
    """Describe the actions of a plan that are printed."""
    for action in plan.actions:
        if isinstance(action, SHOWN):
            yield describe(action, world)
