"""Child processes that outlive their parent; a later command finds them again by their folder.

A child holds a lock from before its first instruction until after its last: the parent takes the
lock and passes the open file to the child. So a process runs exactly while its lock is held: no
pid can be reused, and there is no gap between start and lock. The folder holds the spec of the
process and, once the process has ended by itself, its result.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.results import ResultMessage
from stockpot.api.runspec import RunSpec
from stockpot.errors import Transient
from stockpot.store.atomic import write_whole

GRACE_S = 20.0
"""How long a child may take to save its progress before it is killed."""
POLL_S = 0.02

_children: list[subprocess.Popen[bytes]] = []
"""The children of this process, which has to reap them."""


@dataclass(frozen=True)
class Process:
    """One child process, identified by its folder."""

    folder: Path

    @property
    def spec(self) -> Path:
        """Its run spec."""
        return self.folder / "spec.json"

    @property
    def result(self) -> Path:
        """Its result, once it has ended by itself."""
        return self.folder / "result.json"

    @property
    def work(self) -> Path:
        """Its scratch folder."""
        return self.folder / "work"

    @property
    def log(self) -> Path:
        """Its output."""
        return self.folder / "log.txt"

    @property
    def pid(self) -> Path:
        """Its process ID, which the child writes first."""
        return self.folder / "pid"

    @property
    def started(self) -> str:
        """An identifier of this start, unique to it; empty until the process runs."""
        try:
            when_ns = self.pid.stat().st_mtime_ns
            return f"{self.pid.read_text().strip()}-{when_ns}"
        except FileNotFoundError:
            return ""

    def start(self, spec: RunSpec) -> None:
        """Start the process, unless it runs."""
        lock = _take(self.folder / "lock")
        if lock is None:
            return
        try:
            write_whole(self.spec, spec.model_dump_json(by_alias=True).encode())
            for stale in (self.result, self.pid):
                stale.unlink(missing_ok=True)
            command = [
                *(sys.executable, "-m", "stockpot.workload", str(self.spec)),
                *("--work", str(self.work), "--result", str(self.result), "--pid", str(self.pid)),
            ]
            with self.log.open("ab") as log:
                child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            _children.append(child)
        finally:
            os.close(lock)  # The child still has it open.

    @property
    def is_running(self) -> bool:
        """Whether the process or a child of it still runs."""
        if not self.folder.is_dir():
            return False
        lock = _take(self.folder / "lock")
        if lock is None:
            return True
        os.close(lock)
        return False

    def read_result(self) -> ResultMessage | None:
        """Read the result; None if the process wrote none, for example because it was killed."""
        try:
            return ResultMessage.model_validate_json(self.result.read_bytes())
        except FileNotFoundError:
            return None

    def end(self) -> None:
        """Terminate the process, wait for its last child, and kill them after `GRACE_S`.

        Raises:
            Transient: A process still runs after it was killed.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            was_sent = False
            until_s = time.monotonic() + GRACE_S
            while self.is_running and time.monotonic() < until_s:
                if not was_sent:
                    # Until the child has written its pid, there is nothing to signal.
                    was_sent = self._send(number)
                _reap()
                time.sleep(POLL_S)
        if self.is_running:
            raise Transient(
                f"the process of {self.folder.name} still runs after it was killed",
                help=f"see its log {self.log}, then try again",
            )

    def forget(self) -> None:
        """Remove the folder of a process that has ended."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _send(self, number: signal.Signals) -> bool:
        """Signal the process group; return False if the process has not written its pid yet."""
        try:
            os.killpg(int(self.pid.read_text()), number)
        except (FileNotFoundError, ValueError):
            return False
        except (ProcessLookupError, PermissionError):
            return True
        return True


def _take(lock: Path) -> int | None:
    """Take a lock and return its descriptor, or None if another process holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _reap() -> None:
    """Reap children that have ended, so that no zombies are left."""
    _children[:] = [child for child in _children if child.poll() is None]


def wait_for_any(processes: Iterable[Process], timeout_s: float) -> None:
    """Sleep until one of the processes ends, or until the timeout."""
    with ExitStack() as stack:
        descriptors = []
        for process in processes:
            with suppress(FileNotFoundError, ValueError, ProcessLookupError):
                descriptors.append(os.pidfd_open(int(process.pid.read_text())))
                stack.callback(os.close, descriptors[-1])
        select.select(descriptors, [], [], timeout_s)
    _reap()
