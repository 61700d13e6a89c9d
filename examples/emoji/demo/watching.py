"""What a person sees of a soup on a cluster while it is being made, as `kubectl get -w` has it.

Bars where the terminal can move, a line for each change where it cannot. Nothing is decided here
but whether the soup is what was asked for.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from terminal import Teller, clock

from stockpot.api.conditions import ConditionType
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision

QUARTER = 25
"""Percent after which a line says how far a training is, where there are no bars."""


@dataclass(frozen=True)
class Sight:
    """What there is of one soup at one moment."""

    soup: Soup | None
    shards: tuple[DataShard, ...]
    revisions: tuple[SoupRevision, ...]

    def is_made_of(self, members: Sequence[str]) -> bool:
        """Whether the soup is made of these and no others, is served, and was evaluated."""
        soup = self.soup
        if soup is None or soup.status.observed_generation != soup.metadata.generation:
            return False
        current = soup.status.current_revision
        if {shard.metadata.name for shard in self.shards} != set(members) or current is None:
            return False
        things: tuple[DataShard | Soup, ...] = (*self.shards, soup)
        if not all(_is_true(thing, ConditionType.READY) for thing in things):
            return False
        revision = next(
            (
                revision_object
                for revision_object in self.revisions
                if revision_object.metadata.name == current.name
            ),
            None,
        )
        if revision is None:
            return False
        parts = {part.shard.name for part in revision.spec.parts}
        evaluated = bool(revision.status.evaluation) or not soup.spec.evaluation.suite
        return parts == set(members) and evaluated


@dataclass
class _ShardProgress:
    """The last line printed for a shard."""

    words: str = ""
    began_s: float = 0.0
    began_percent: int = 0


@dataclass
class Watch:
    """Tells what is new in each sight."""

    teller: Teller
    _shown: dict[str, _ShardProgress] = field(default_factory=dict)
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _bars: Progress | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _began_s: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "Watch":
        if self.teller.console.is_terminal:
            self._bars = self._stack.enter_context(_new_bars(self.teller))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, sight: Sight) -> None:
        """Show what is new."""
        for shard in sight.shards:
            self._show(shard)
        for gone in [name for name in self._shown if name not in _names(sight)]:
            self._say(gone, "gone")
            self._shown.pop(gone)
            if self._bars and gone in self._tasks:
                self._bars.remove_task(self._tasks.pop(gone))
        if sight.soup is not None:
            soup = f"soup {sight.soup.metadata.name}"
            progress = self._shown.setdefault(soup, _ShardProgress())
            if (words := _words_of_soup(sight.soup)) != progress.words:
                self._say(soup, words)
                progress.words = words

    def _show(self, shard: DataShard) -> None:
        name = shard.metadata.name
        progress = self._shown.setdefault(name, _ShardProgress(began_s=time.monotonic()))
        percent = _percent(shard)
        if percent and not progress.began_percent:
            progress.began_s, progress.began_percent = time.monotonic(), percent
        left = self._left(progress, percent)
        words = _words_of_shard(shard)
        if self._bars:
            self._move(name, shard, percent, left)
        elif 0 < percent < 100:
            words += f", {percent // QUARTER * QUARTER} %" if percent >= QUARTER else ""
        if words != progress.words:
            self._say(name, words + (f", {left}" if left and not self._bars else ""))
            progress.words = words

    def _left(self, progress: _ShardProgress, percent: int) -> str:
        done = percent - progress.began_percent
        if done <= 0 or percent >= 100:
            return ""
        rate = done / (time.monotonic() - progress.began_s)
        return f"about {clock((100 - percent) / rate)} left"

    def _move(self, name: str, shard: DataShard, percent: int, left: str) -> None:
        assert self._bars is not None
        if not 0 < percent < 100:
            if name in self._tasks:
                self._bars.remove_task(self._tasks.pop(name))
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=100, phase="", left="")
        phase = shard.status.training.phase if shard.status.training else ""
        self._bars.update(self._tasks[name], completed=percent, phase=phase, left=left)

    def _say(self, name: str, words: str) -> None:
        since_s = time.monotonic() - self._began_s
        self.teller.console.print(f"[dim]{since_s:6.1f}s[/]  {name:<12} {words}", soft_wrap=True)


def _names(sight: Sight) -> set[str]:
    soup = {f"soup {sight.soup.metadata.name}"} if sight.soup else set()
    return soup | {shard.metadata.name for shard in sight.shards}


def _is_true(thing: DataShard | Soup, kind: ConditionType) -> bool:
    return any(
        condition.type == kind and condition.status == "True"
        for condition in thing.status.conditions
    )


def _percent(shard: DataShard) -> int:
    return (shard.status.training.progress_percent or 0) if shard.status.training else 0


def _words_of_shard(shard: DataShard) -> str:
    if shard.status.unlearning:
        return f"being forgotten: {shard.status.unlearning.stage}"
    ready = next(
        (
            condition
            for condition in shard.status.conditions
            if condition.type == ConditionType.READY
        ),
        None,
    )
    if ready is None:
        return "seen"
    return "included, and served" if ready.status == "True" else str(ready.reason)


def _words_of_soup(soup: Soup) -> str:
    ready = next(
        (
            condition
            for condition in soup.status.conditions
            if condition.type == ConditionType.READY
        ),
        None,
    )
    current = soup.status.current_revision
    number = f"revision {current.number}, {soup.status.shards.included} shards" if current else ""
    if ready is None or ready.status == "True":
        return f"serves {number}" if number else "seen"
    return f"{ready.reason}; {number}" if number else str(ready.reason)


def _new_bars(teller: Teller) -> Progress:
    return Progress(
        TextColumn("        {task.description:<12}"),
        TextColumn("[cyan]{task.fields[phase]:<10}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[left]}"),
        console=teller.console,
        transient=True,
    )
