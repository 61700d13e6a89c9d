"""Why something is not so yet: the source of conditions, events, logs and `stockpot plan`."""

from dataclasses import dataclass
from datetime import datetime

from stockpot.api.conditions import Reason


@dataclass(frozen=True)
class Blocker:
    """What is missing, why, and what a person can do about it."""

    reason: Reason
    message: str
    help: str = ""
    needs_person: bool = False
    """Whether nothing will change by itself: the object is Stalled rather than Reconciling."""
    wake_at: datetime | None = None
    """When another round would help, even without any event."""
