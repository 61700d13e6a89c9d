"""Why is data: conditions, events, log lines and `stockpot plan` all speak from these."""

from dataclasses import dataclass
from datetime import datetime

from stockpot.api.conditions import Reason


@dataclass(frozen=True)
class Blocker:
    """What is not so yet, why, and what a person may do about it."""

    reason: Reason
    message: str
    help: str = ""
    needs_person: bool = False
    """Whether nothing will change by itself: the object is Stalled rather than Reconciling."""
    wake_at: datetime | None = None
    """When looking again would help, though nothing else happens."""
