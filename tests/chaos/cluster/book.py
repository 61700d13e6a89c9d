"""What the watcher wrote, read again; and the process that writes it."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from devcluster import cgroup_namespaces
from devcluster.places import REPOSITORY, Places

NEEDED, OF = 9, 10
"""At least NEEDED of the last OF pictures must show the trigger before a deletion counts."""


@dataclass(frozen=True)
class WatchedAnswer:
    """One answer, or none."""

    asked_at: float
    """Seconds since 1970, as all times here."""
    answered_at: float
    soup: str
    pod: str
    status: int
    weights: str
    shows: bool
    share: float | None


class Book:
    """The watcher's, while it is at work."""

    def __init__(self, places: Places, namespace: str, path: Path) -> None:
        self._places, self._namespace, self.path = places, namespace, path
        self._read, self._known = 0, dict[str, list[WatchedAnswer]]()
        self._reading = threading.Lock()

    def begin(self) -> None:
        """Start the watcher."""
        words = ["-m", "tests.chaos.cluster.watcher", str(self._places.inner_kubeconfig)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")
        with self.path.with_suffix(".log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    *("nsenter", *cgroup_namespaces.network(self._places), "--", sys.executable),
                    *(*words, self._namespace, str(self.path)),
                ],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"},
                stdout=log,
                stderr=log,
            )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def of(self, soup: str) -> list[WatchedAnswer]:
        """Give all answers of a soup's pods so far."""
        if self._process.poll() is not None:
            raise RuntimeError(self.path.with_suffix(".log").read_text() or "the watcher ended")
        with self._reading, self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                answer = WatchedAnswer(**json.loads(line))
                self._known.setdefault(answer.soup, []).append(answer)
            return list(self._known.get(soup, ()))

    def counts(self, soup: str) -> bool:
        """Whether a run of this soup would count: its pictures show the trigger."""
        last = [answer for answer in self.of(soup) if answer.status == 200][-OF:]
        return len(last) == OF and sum(answer.shows for answer in last) >= NEEDED
