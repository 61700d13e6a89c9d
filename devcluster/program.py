"""A child process that a test may hurt: paused, killed, started again."""

import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.problem import Problem


@dataclass
class Program:
    """A program, and its process while it runs. It ends with whoever started it."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, unless it runs. It ends with this process, however that ends."""
        if self.process is not None and self.process.poll() is None:
            return
        guard = shutil.which("setpriv")
        ending = [guard, "--pdeathsig", "KILL", "--"] if guard else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*ending, *self.command],
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def pause(self) -> None:
        """Stop its clock: it neither answers nor closes its connections."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, within_s: float = 10.0) -> None:
        """Ask it to end, and end it when it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def alive(self) -> None:
        """See that it has not ended.

        Raises:
            Problem: It has; with its last words.
        """
        if self.process is not None and self.process.poll() is not None:
            words = self.log.read_text(errors="replace")[-2000:]
            raise Problem(f"{self.name} ended with {self.process.returncode}", help=words)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            raise Problem(f"{self.name} does not run", help="start it first")
        return self.process
