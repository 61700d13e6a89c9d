"""Long work, said before it starts: what is done, about how long, and how long it took."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from devcluster.problem import Problem

LAST_LINES = 15


def say(line: str) -> None:
    """Print a line for the person who waits, at once."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(what: str, *, eta_s: float = 0.0) -> Iterator[None]:
    """Say what is being done, and when it is done how long it took.

    Args:
        what: What, as in "compiling Kubernetes".
        eta_s: About how long on two cores; nothing is said below five seconds.
    """
    begun_s = time.monotonic()
    about = f" (about {duration(eta_s)})" if eta_s >= 5 else ""
    done = threading.Event()
    ticking = threading.Thread(target=_tick, args=(f"{what}{about}", begun_s, done), daemon=True)
    on_a_terminal = sys.stderr.isatty()
    if on_a_terminal:
        ticking.start()
    else:
        say(f"  ... {what}{about}")
    try:
        yield
    finally:
        done.set()
        if on_a_terminal:
            ticking.join()
            print("\r\x1b[K", end="", file=sys.stderr)
    say(f"  ok  {what}: {duration(time.monotonic() - begun_s)}")


def _tick(what: str, begun_s: float, done: threading.Event) -> None:
    while True:
        passed = duration(time.monotonic() - begun_s)
        print(f"\r\x1b[K  ... {what} {passed}", end="", file=sys.stderr, flush=True)
        if done.wait(1.0):
            return


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    failed: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end, its words into a file.

    Args:
        command: The program and its arguments.
        log: Gets all it says; its last lines are shown when it fails.
        failed: What it means when it fails, as a sentence.
        cwd: Where it runs.
        environment: Added to ours.

    Raises:
        Problem: It failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        ended = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        words = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise Problem(failed, help="\n".join([f"it said, at the end of {log}:", *words]))
