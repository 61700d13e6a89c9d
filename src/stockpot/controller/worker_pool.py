"""Workers that take soups from the queue and reconcile them; and when each is looked at again.

Nothing that a round raises ends a worker: it is said in the soup's own status where it is about
the soup, counted, and tried again later.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from stockpot.api.conditions import ConditionType, Reason
from stockpot.cluster.apiserver.errors import ApiError, Forbidden, OverQuota
from stockpot.controller.queue import Priority, Queue
from stockpot.core.checks import Assessment
from stockpot.core.plan import Plan
from stockpot.core.report import ConditionUpdate
from stockpot.errors import Refused, StockpotError, Transient
from stockpot.kube.environment import StoreNotDeclared
from stockpot.reconcile.loop import Round, reconcile
from stockpot.reconcile.objects.soup import with_trouble
from stockpot.reconcile.ports import Ports, SoupKey

log = structlog.get_logger("stockpot.engine")

LOOK_S = 0.5
"""How soon servers that are on their way are asked again."""
PROGRESS_S = 5.0
"""How often a soup is looked at that waits for runs alone: their ends are told by a watch."""
RESYNC_S = 300.0
"""How often every soup is looked at past every cache, though nothing seems to have happened."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After a round that failed, doubled each time."""

Finished = Callable[[SoupKey, Round, float], None]
Failed = Callable[[SoupKey, BaseException, float], None]


@dataclass
class _Memory:
    """What is remembered of a soup from round to round: only how to pace them."""

    asked_for: Plan = field(default_factory=Plan)
    failures: int = 0
    looked_past_s: float = float("-inf")


class WorkerPool:
    """The rounds of all soups."""

    def __init__(
        self,
        queue: Queue,
        ports_of: Callable[[SoupKey], Ports],
        *,
        workers: int,
        may_work: Callable[[str], bool],
        let_pass: Callable[[], None],
        now: Callable[[], datetime],
        finished: Finished,
        failed: Failed,
    ) -> None:
        """Start nothing yet.

        Args:
            queue: Whom it works for.
            ports_of: What a round of a soup needs.
            workers: How many soups are worked on at once.
            may_work: Whether a namespace is ours to work in at this moment.
            let_pass: Waits for what is more urgent than any round.
            now: The clock.
            finished: Told of each round that came to its end.
            failed: Told of each that did not.
        """
        self._queue, self._ports_of, self._may_work, self._now = queue, ports_of, may_work, now
        self._finished, self._failed, self._let_pass = finished, failed, let_pass
        self._memories: dict[SoupKey, _Memory] = {}
        self._beats: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            self._beats[thread.name] = float("inf")
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the rounds that are under way, and begin no more."""
        self._queue.close()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until_s - time.monotonic()))

    def is_well(self, patience_s: float) -> bool:
        """Whether no worker is dead, or stands in one round for longer than that."""
        if any(thread.ident is not None and not thread.is_alive() for thread in self._threads):
            return False
        now_s = time.monotonic()
        return all(now_s - began_s < patience_s for began_s in self._beats.values())

    def _work(self) -> None:
        name = threading.current_thread().name
        while (key := self._queue.take()) is not None:
            self._beats[name] = time.monotonic()
            try:
                self._let_pass()
                self._round(key)
            finally:
                self._beats[name] = float("inf")
                self._queue.done(key)

    def _round(self, key: SoupKey) -> None:
        if not self._may_work(key.namespace):
            self._queue.push(key, Priority.RESYNC, PROGRESS_S)
            return
        memory = self._memories.setdefault(key, _Memory())
        began_s = time.monotonic()
        ports = self._ports_of(key)
        past = began_s - memory.looked_past_s >= RESYNC_S
        try:
            one = reconcile(ports, fresh=past)
        except Exception as error:
            self._trouble(key, memory, ports, error, time.monotonic() - began_s)
            return
        memory.failures = 0
        if past:
            memory.looked_past_s = began_s
        self._finished(key, one, time.monotonic() - began_s)
        again_s = self._pause(one, memory)
        memory.asked_for = one.plan
        if one.seen.soup is None and not one.seen.shards:
            self._memories.pop(key, None)
            return
        self._queue.push(key, Priority.RESYNC if again_s else Priority.CHILD, again_s)

    def _pause(self, one: Round, memory: _Memory) -> float:
        """Say how long until the next look, though no watch tells of anything."""
        if one.plan.actions and one.plan != memory.asked_for:
            return 0.0
        pauses = [RESYNC_S * random.uniform(0.9, 1.0)]  # noqa: S311  Not all at the same moment.
        if one.plan.actions:
            pauses.append(LOOK_S)  # The same is asked for again: it takes its time.
        if one.assessment is not None:
            world = one.assessment.inputs.world
            if any(run.is_active for run in world.runs):
                pauses.append(PROGRESS_S)
            if any(not world.is_serving(server) for server in world.servers):
                pauses.append(LOOK_S)
            if one.assessment.soup is not None and world.startup_blocker:
                pauses.append(PROGRESS_S)
            pauses += _for_those_who_leave(one.assessment)
        times = (at for at in (one.wake_at, one.due_at) if at)
        pauses += (max(0.05, (at - self._now()).total_seconds()) for at in times)
        return min(pauses)

    def _trouble(
        self,
        key: SoupKey,
        memory: _Memory,
        ports: Ports,
        error: Exception,
        duration_s: float,
    ) -> None:
        memory.failures += 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(memory.failures - 1, 10))
        self._failed(key, error, duration_s)
        log.warning(
            "the round failed",
            soup=f"{key.namespace}/{key.name}",
            error=str(error) or type(error).__name__,
            tried_again_in_s=pause_s,
            exc_info=not isinstance(error, StockpotError),
        )
        told = trouble_of(error)
        if told and memory.failures > 1:
            try:
                ports.objects.read(fresh=False)
                ports.objects.change_soup(with_trouble(told, self._now()))
                ports.objects.flush()
            except StockpotError as second:
                log.warning("its status could not say so", error=second.message)
        self._queue.push(key, Priority.CHILD, pause_s)


def _for_those_who_leave(assessment: Assessment) -> Iterator[float]:
    """Say how soon to look at what nobody tells of: what servers hold."""
    for target in assessment.inputs.world.targets:
        if pending := assessment.pending[target.uid]:
            yield PROGRESS_S if pending.blocker.needs_person else LOOK_S


def trouble_of(error: Exception) -> tuple[ConditionUpdate, ...]:
    """Say in conditions what a round met; nothing of what passes by itself."""
    if isinstance(error, Transient) or not isinstance(error, StockpotError):
        return ()
    reasons: Mapping[type[StockpotError], Reason] = {
        StoreNotDeclared: Reason.STORE_NOT_FOUND,
        OverQuota: Reason.QUOTA_EXCEEDED,
        Forbidden: Reason.FORBIDDEN,
        ApiError: Reason.FORBIDDEN,
        Refused: Reason.SOURCE_NOT_FOUND,
    }
    reason = next((why for kind, why in reasons.items() if isinstance(error, kind)), None)
    if reason is None:
        return ()
    message = f"{error.message}; help: {error.help}" if error.help else error.message
    return (
        ConditionUpdate(ConditionType.READY, False, reason, message),
        ConditionUpdate(ConditionType.STALLED, True, reason, message),
    )
