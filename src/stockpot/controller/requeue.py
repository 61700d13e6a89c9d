"""Delay until a soup is reconciled again, if no watch reports a change before."""

import random
from collections.abc import Iterator
from datetime import datetime

from stockpot.core.checks import Assessment
from stockpot.core.plan import Plan
from stockpot.reconcile.loop import Round

SERVER_POLL_S = 0.5
"""How often servers are polled that have not reached their wanted state."""
RUN_POLL_S = 5.0
"""How often a soup is reconciled that only waits for runs: a watch reports their ends."""
NAMESPACE_POLL_S = 5.0
"""How often a soup is queued again whose namespace another release holds."""
RESYNC_S = 300.0
"""How often every soup is reconciled with fresh reads, past every cache."""
SOONEST = 0.9
"""The earliest part of that time at which one may come: not all soups at once."""


def requeue_after_s(finished: Round, last_plan: Plan, now: datetime) -> float:
    """Return the seconds until the next reconcile.

    Args:
        finished: The reconcile that just ended.
        last_plan: The plan of the one before.
        now: The time by the operator's clock.
    """
    if finished.plan.actions and finished.plan != last_plan:
        return 0.0
    delays = [RESYNC_S * random.uniform(SOONEST, 1.0)]  # noqa: S311  Jitter.
    if finished.plan.actions:
        delays.append(SERVER_POLL_S)  # The plan is repeated until it takes effect.
    if finished.assessment is not None:
        world = finished.assessment.inputs.world
        if any(run.is_active for run in world.runs):
            delays.append(RUN_POLL_S)
        if any(not world.is_serving(server) for server in world.servers):
            delays.append(SERVER_POLL_S)
        if finished.assessment.soup is not None and world.startup_blocker:
            delays.append(RUN_POLL_S)
        delays += _delays_of_deletions(finished.assessment)
    times = (at for at in (finished.wake_at, finished.due_at) if at)
    delays += (max(0.05, (at - now).total_seconds()) for at in times)
    return min(delays)


def _delays_of_deletions(assessment: Assessment) -> Iterator[float]:
    """Yield the delay of each unlearning target: no watch reports what servers hold."""
    for target in assessment.inputs.world.targets:
        if pending := assessment.pending[target.uid]:
            # What is owed waits for a store that does not answer, perhaps for days.
            waits_long = pending.blocker.needs_person or assessment.inputs.world.soup.is_gone
            yield RUN_POLL_S if waits_long else SERVER_POLL_S
