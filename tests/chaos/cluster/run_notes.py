"""What is known of one run, as it stands in the table."""

from dataclasses import dataclass, field


@dataclass
class RunNotes:
    """One run."""

    points: tuple[str, ...]
    """All that was to hit the deletion, in order."""
    soup: str = ""
    result: str = "?"
    shards: tuple[str, ...] = ()
    """What was deleted."""
    struck: int = 0
    """How many of the points it came to."""
    began_at: float = 0.0
    seconds: float = 0.0
    """From the deletion until the shard is gone."""
    signed_at: float = 0.0
    requests: int = 0
    failed_requests: int = 0
    triggers_before: int = 0
    """Answers with the trigger before the receipt's time."""
    triggers_after: int = 0
    answers_after: int = 0
    receipts: list[str] = field(default_factory=list)
    proven: int = 0
    attested: int = 0
    took_s: float = 0.0
    """The whole run, without what was prepared ahead."""
