"""Whether and when a failed run is retried, with exponential backoff.

Runs that an unlearning needs, runs that failed because the store was unavailable, and runs that an
admin's annotation of the namespace lets in, are retried without a limit.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stockpot.core.runs import Failure
from stockpot.errors import ExitCode

FIRST_WAIT_S = 5
LONGEST_WAIT_S = 300
LONGEST_LOOK_S = 3600
"""Longest time between purges of what a person has to clear away."""
SKEW_S = 60
"""Difference between the clocks of two nodes that is no jump."""
FIRST_COLLECTION_S, LONGEST_COLLECTION_S = 300, 86_400
"""Between rescans: after a receipt, and after many that found nothing."""


@dataclass(frozen=True)
class RetryRequest:
    """A person's request, by annotation, to try again what failed for good."""

    value: str = ""
    """The annotation now; any other value than the recorded one is a new request."""
    recorded: str = ""
    """The annotation when a request was last carried out."""
    runs: tuple[str, ...] = ()
    """Names of the last runs that had failed then: attempts count from the next ones."""

    @property
    def is_due(self) -> bool:
        """Whether the request is not carried out yet."""
        return self.value not in {"", self.recorded}


NO_REQUEST = RetryRequest()


def gives_up(failure: Failure, tries: int, max_attempts: int, *, is_owed: bool) -> bool:
    """Whether a run is not retried after so many attempts."""
    endless = is_owed or failure.exit_code in (ExitCode.STORAGE, ExitCode.OTHER_NAMESPACE)
    if endless and failure.at is not None:
        return False
    return failure.is_final or tries >= max_attempts


def due_at(failure: Failure, tries: int) -> datetime | None:
    """Return when a failed run is retried: twice as late after each attempt; None for at once."""
    if failure.at is None:
        return None
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(tries - 1, 10))
    return failure.at + timedelta(seconds=wait_s)


def is_due(due: datetime, now: datetime, longest_s: float = LONGEST_WAIT_S) -> bool:
    """Whether a wait is over.

    A wait that would end later than any wait takes was measured from the time of a clock that has
    been set back since, or of a node that is far ahead: it is over, or a deletion would wait for
    as long as the clock had jumped.
    """
    return now >= due or due - now > timedelta(seconds=longest_s + SKEW_S)


def rescan_again_at(last_at: datetime, quiet: int) -> datetime:
    """Return the time of the next rescan: ever less often, then daily.

    A suspended writer may resume a second later, or a month later.
    """
    wait_s = min(LONGEST_COLLECTION_S, FIRST_COLLECTION_S * 2 ** min(quiet, 20))
    return last_at + timedelta(seconds=wait_s)


def purge_again_at(ended_at: datetime | None, tries: int) -> datetime | None:
    """Return when a purge that left objects is repeated; None in local mode, where people do it."""
    if ended_at is None:
        return None
    wait_s = min(LONGEST_LOOK_S, FIRST_WAIT_S * 2 ** min(tries - 1, 10))
    return ended_at + timedelta(seconds=wait_s)
