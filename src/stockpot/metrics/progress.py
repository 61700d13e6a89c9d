"""The progress of a run: set by the workload, read by `/progress`. Uses only a monotonic clock."""

import threading
import time
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Snapshot:
    """The progress at one moment."""

    phase: str = "starting"
    """A word or two for people: `encoding`, `training`, `publishing`."""
    step: int = 0
    total_steps: int = 0
    elapsed_s: float = 0.0
    eta_s: float | None = None
    """Seconds until the phase ends; None while unknown."""
    figures: dict[str, float] = field(default_factory=dict)


class Progress:
    """The progress of one run. Safe to read from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Snapshot()
        self._began_s = time.monotonic()
        self._first_step = 0

    def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
        """Begin a phase of `total_steps`; a resumed phase begins at `first_step`."""
        with self._lock:
            self._began_s = time.monotonic()
            self._first_step = first_step
            self._now = Snapshot(phase, first_step, total_steps, figures=self._now.figures)

    def advance(self, step: int, **figures: float) -> None:
        """Set how many steps of the phase are done, and the latest figures."""
        with self._lock:
            self._now = replace(self._now, step=step, figures={**self._now.figures, **figures})

    def snapshot(self) -> Snapshot:
        """Return the current progress, with the time left at the pace so far."""
        with self._lock:
            now, done = self._now, self._now.step - self._first_step
            elapsed_s = time.monotonic() - self._began_s
        left = now.total_steps - now.step
        eta_s = elapsed_s / done * left if done > 0 and left >= 0 else None
        return replace(now, elapsed_s=elapsed_s, eta_s=eta_s)
