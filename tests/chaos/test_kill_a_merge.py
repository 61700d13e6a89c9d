"""`stockpot merge` killed at a hundred random moments: nothing half-written has a final name."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.merging.test_soup import a_file

from stockpot.core.digests import digest_of_bytes
from stockpot.merging import merge

pytestmark = pytest.mark.chaos

KILLS = 100


@pytest.mark.timeout(1800)
def test_a_hundred_kills_leave_no_half_soup_and_a_rerun_completes(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    files = []
    for i in range(4):
        data = (dice.normal(size=4 << 20) * 0.03).astype("<f2").tobytes()
        files.append(str(a_file(tmp_path / f"{i}.safetensors", {"a": ("F16", (4 << 20,), data)})))
    whole = merge(files, tmp_path / "whole.safetensors").digest
    soup = tmp_path / "out" / "soup.safetensors"
    program = "from stockpot.merging import merge; import sys; print(flush=True); "
    program += f"merge({files!r}, {str(soup)!r}, threads=2)"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began_s = time.monotonic()  # What it imports takes longer than what it merges.
        assert process.wait() == 0
        most_s = time.monotonic() - began_s
    moments, killed = random.Random(5), 0

    for _ in range(KILLS):
        soup.unlink(missing_ok=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # It has imported, and begins.
            time.sleep(moments.random() * most_s)
            os.kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL

        if soup.exists():
            assert digest_of_bytes(soup.read_bytes()) == whole

    assert killed > KILLS // 4
    assert merge(files, soup).digest == whole
    assert digest_of_bytes(soup.read_bytes()) == whole
