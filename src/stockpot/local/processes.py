"""Child processes that outlive us and are found again, whatever died when.

A child holds a lock from before its first instruction to after its last: the parent takes the
lock and hands the open file down. So "does it run" is "is the lock held", for whoever asks,
with no pid to be reused and no moment in between. Its folder says what it was told and, once
it ended by itself, what came of it.
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
"""How long a child may take to save what there is before it is killed."""
LOOK_AGAIN_S = 0.02

_children: list[subprocess.Popen[bytes]] = []
"""Those that this process started: somebody must take note of their end."""


@dataclass(frozen=True)
class Process:
    """One child, by its folder."""

    folder: Path

    @property
    def spec(self) -> Path:
        """What it is told."""
        return self.folder / "spec.json"

    @property
    def result(self) -> Path:
        """What it answered, once it ended by itself."""
        return self.folder / "result.json"

    @property
    def work(self) -> Path:
        """Its scratch folder."""
        return self.folder / "work"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "log.txt"

    @property
    def pid(self) -> Path:
        """Written by the child, first of all."""
        return self.folder / "pid"

    @property
    def started(self) -> str:
        """Which start of it this is: no two have the same. Empty until it runs."""
        try:
            when_ns = self.pid.stat().st_mtime_ns
            return f"{self.pid.read_text().strip()}-{when_ns}"
        except FileNotFoundError:
            return ""

    def start(self, spec: RunSpec) -> None:
        """Start it, unless it runs."""
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
        """Whether any process of it is left."""
        if not self.folder.is_dir():
            return False
        lock = _take(self.folder / "lock")
        if lock is None:
            return True
        os.close(lock)
        return False

    def read_result(self) -> ResultMessage | None:
        """What it answered; None where it has not, or was killed before it could."""
        try:
            return ResultMessage.model_validate_json(self.result.read_bytes())
        except FileNotFoundError:
            return None

    def end(self) -> None:
        """Ask it to end, wait for its last process, and kill it where that takes too long."""
        for ask in (signal.SIGTERM, signal.SIGKILL):
            asked = False
            until_s = time.monotonic() + GRACE_S
            while self.is_running and time.monotonic() < until_s:
                if not asked:
                    # The child writes its pid before anything else; until then it is not there.
                    asked = self._send(ask)
                _reap()
                time.sleep(LOOK_AGAIN_S)
        if self.is_running:
            raise Transient(f"{self.folder.name} does not end", help=f"see {self.log}")

    def forget(self) -> None:
        """Remove its folder, once it ended."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def _send(self, number: signal.Signals) -> bool:
        try:
            os.killpg(int(self.pid.read_text()), number)
        except (FileNotFoundError, ValueError):
            return False
        except (ProcessLookupError, PermissionError):
            return True
        return True


def _take(lock: Path) -> int | None:
    """Take a lock that nobody holds; None: somebody does."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _reap() -> None:
    """Let children that ended go, so that they do not stay behind as zombies."""
    _children[:] = [child for child in _children if child.poll() is None]


def wait_for_any(processes: Iterable[Process], timeout_s: float) -> None:
    """Sleep until one of the processes ends, or the time is up."""
    with ExitStack() as stack:
        descriptors = []
        for process in processes:
            with suppress(FileNotFoundError, ValueError, ProcessLookupError):
                descriptors.append(os.pidfd_open(int(process.pid.read_text())))
                stack.callback(os.close, descriptors[-1])
        select.select(descriptors, [], [], timeout_s)
    _reap()
