"""How long a person waits for help."""

import resource
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark


def test_help_is_there_at_once() -> None:
    took_s = []
    for _ in range(5):
        # Seconds of a core: the same on a machine that has other things to do.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "stockpot.cli", "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    sys.stdout.write(f"\nstockpot --help: {min(took_s):.3f} s of a core\n")
    assert min(took_s) < 0.4
