"""Whether and when what failed is tried again.

Two kinds of failure wait for nobody to run out of patience: what a deletion needs, and a store
that is away. Both are tried for as long as it takes, ever less often.
"""

from datetime import datetime, timedelta

from stockpot.core.world import Failure
from stockpot.errors import ExitCode

FIRST_WAIT_S = 5
LONGEST_WAIT_S = 300
LONGEST_LOOK_S = 3600
"""What a person has to clear away takes its time."""
FIRST_COLLECTION_S, LONGEST_COLLECTION_S = 300, 86_400
"""After a receipt, and when nothing came back for long."""


def gives_up(failure: Failure, tries: int, max_attempts: int, *, is_owed: bool) -> bool:
    """Whether so many tries were enough."""
    endless = is_owed or failure.exit_code == ExitCode.STORAGE
    if endless and failure.at is not None:
        return False
    return failure.is_final or tries >= max_attempts


def due_at(failure: Failure, tries: int) -> datetime | None:
    """When it may be tried again: twice as long after each try. None: at once."""
    if failure.at is None:
        return None
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(tries - 1, 10))
    return failure.at + timedelta(seconds=wait_s)


def collected_again(looked_at: datetime, quiet: int) -> datetime:
    """When to look again for what came back of what was forgotten: ever less often, then daily.

    A writer that was stopped in the middle may go on a second later, or a month.
    """
    wait_s = min(LONGEST_COLLECTION_S, FIRST_COLLECTION_S * 2 ** min(quiet, 20))
    return looked_at + timedelta(seconds=wait_s)


def looked_at_again(ended_at: datetime | None, tries: int) -> datetime | None:
    """When a purge that left something is due again, ever less often. None: a person says when."""
    if ended_at is None:
        return None
    wait_s = min(LONGEST_LOOK_S, FIRST_WAIT_S * 2 ** min(tries - 1, 10))
    return ended_at + timedelta(seconds=wait_s)
