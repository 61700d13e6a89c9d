"""Run a verb in a process of its own that kills itself, with SIGKILL, at a chosen moment.

Moments are counted in what the process is about to do to files below a folder: open, rename, link,
remove, make and remove folders. So a kill lands before any one of them, the same one each time.

    moments = run_until_killed("stockpot.merging.run", spec, below, at=None)   to the end: how many
    run_until_killed("stockpot.merging.run", spec, below, at=17)               dies before the 17th
"""

import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from stockpot.api.runspec import RUN_SPEC, RunSpec
from stockpot.metrics.progress import Progress

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
ROOT = Path(__file__).resolve().parents[2]


def run_until_killed(module: str, spec: RunSpec, below: Path, *, at: int | None) -> int:
    """Run a verb with `below / "work"` as its work folder.

    Returns:
        How many moments there were, where it came to its end.
    """
    (below / "work").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.merging.killing", module, str(below), str(at or 0)]
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    done = subprocess.run(
        command,
        input=RUN_SPEC.dump_json(spec),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        timeout=60,
    )
    if at is None:
        assert done.returncode == 0
        return int(done.stdout)
    assert done.returncode == -signal.SIGKILL, f"it had ended before moment {at}"
    return at


def main(module: str, below: str, at: int) -> None:
    verb = importlib.import_module(module).run
    spec = RUN_SPEC.validate_json(sys.stdin.buffer.read())
    moments = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal moments
        if event in EVENTS and str(arguments[0]).startswith(below):
            moments += 1
            if moments == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    verb(spec, work=Path(below) / "work", progress=Progress(), stop=threading.Event())
    sys.stdout.write(str(moments))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
