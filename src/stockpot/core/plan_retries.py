"""Carries out requests to retry: which runs had failed then, so that attempts count from there."""

from collections.abc import Iterable, Iterator

from stockpot.core.actions import RecordRetry
from stockpot.core.attempts import last_attempt
from stockpot.core.run_starts import (
    Start,
    StartCompare,
    StartEvaluation,
    StartFind,
    StartMerge,
    StartTraining,
)
from stockpot.core.runs import RunName
from stockpot.core.world import World


def plan_retries(wanted: Iterable[Start], world: World) -> Iterator[RecordRetry]:
    """Yield what is to be recorded of each request that is new.

    Args:
        wanted: All runs that are needed, whether or not they may start now.
        world: The observed world.
    """
    requests = [(shard.uid, shard.retry) for shard in world.shards if shard.retry.is_due]
    is_asked_of_soup = world.soup.retry.is_due
    if not requests and not is_asked_of_soup:
        return
    starts = tuple(wanted)
    for uid, request in requests:
        of_shard = (start for start in starts if isinstance(start, OF_A_SHARD))
        own = (start for start in of_shard if start.about == {uid})
        yield RecordRetry(uid, request.value, _failed(own, world))
    if is_asked_of_soup:
        of_soup = (start for start in starts if isinstance(start, OF_THE_SOUP))
        yield RecordRetry(None, world.soup.retry.value, _failed(of_soup, world))


OF_A_SHARD = (StartTraining, StartFind, StartCompare)
OF_THE_SOUP = (StartMerge, StartEvaluation)


def _failed(starts: Iterable[Start], world: World) -> tuple[RunName, ...]:
    """Return the last attempts at these runs that failed, whether or not they are tried again."""
    last = (last_attempt(start, world) for start in starts)
    return tuple(sorted({run.name for run in last if run and run.failure}))
