"""Merging side by side: the same files, the same cores, one run. Writes a table and a plot.

`make bench-merge` runs it in an environment of its own, with the other tools in it. A machine that
does something else meanwhile shows in the spread, and in the load written beside the figures.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from inputs import files

HERE = Path(__file__).parent


@dataclass
class Figures:
    """What one contender took."""

    contender: str
    cores: int
    size: str
    dtype: str
    count: int
    input_bytes: int
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    anonymous_mb: float = 0.0
    """Above what was there after the imports."""
    peak_mb: float = 0.0
    """All that was resident, mapped files too."""
    wrong: float | None = None
    """The share of elements that differ from the exact mean, rounded once."""


def memory_kb(pid: int) -> dict[str, int]:
    """Read what a process holds."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":") for line in lines if line.startswith(("RssAnon", "VmHWM")))
    return {key: int(value.split()[0]) for key, value in pairs}


def warm(paths: Sequence[Path]) -> None:
    """Bring files into the page cache."""
    buffer = bytearray(1 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def measure(contender: str, cores: int, inputs: Sequence[Path], output: Path) -> dict[str, float]:
    """Run one contender once."""
    output.unlink(missing_ok=True)
    shutil.rmtree(output.with_suffix(".mergekit"), ignore_errors=True)
    warm(inputs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores)}
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "contenders.py"), contender, str(cores), str(output)]
        + [str(path) for path in inputs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),  # noqa: PLW1509
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None
    assert stdout is not None
    assert stderr is not None
    said: list[str] = []
    errors = threading.Thread(target=lambda: said.append(stderr.read()), daemon=True)
    errors.start()
    for line in stdout:
        if line == "ready\n":
            break
    else:
        errors.join()
        raise SystemExit(f"{contender} did not get ready:\n{said[0][-2000:]}")
    before = memory_kb(process.pid).get("RssAnon", 0)
    most = {"RssAnon": before, "VmHWM": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            for key, value in memory_kb(process.pid).items():
                most[key] = max(most[key], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    stdin.write("\n")
    stdin.close()
    rest = stdout.read()
    ended.set()
    watcher.join()
    errors.join()
    if process.wait():
        raise SystemExit(f"{contender} failed:\n{said[0][-2000:]}")
    found = json.loads(rest.strip().splitlines()[-1])
    found["anonymous_mb"] = (most["RssAnon"] - before) / 1000
    found["peak_mb"] = most["VmHWM"] / 1000
    return dict(found)


def wrong(exact: Path, other: Path) -> float:
    """Count the elements that differ, tensor by tensor: files may hold them in any order."""
    maps = []
    for path in (exact, other):
        data = np.memmap(path, np.uint8, "r")
        length = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        maps.append((header, data[8 + length :]))
    (ours, a), (theirs, b) = maps
    differing = elements = 0
    for key, entry in ours.items():
        kind = np.uint32 if entry["dtype"] == "F32" else np.uint16
        x = a[slice(*entry["data_offsets"])].view(kind)
        elements += x.size
        if key not in theirs:
            differing += x.size
            continue
        y = b[slice(*theirs[key]["data_offsets"])]
        differing += int((x != np.frombuffer(y.tobytes(), kind)).sum())
    return differing / elements


PLANS: dict[str, list[tuple[str, str, int, list[tuple[str, int, int]]]]] = {
    # size, type, files: contenders with cores and repetitions
    "full": [
        (
            "full",
            "F16",
            8,
            [
                *(("floor", 1, 3), ("stockpot", 1, 3), ("stockpot-fsync", 1, 1)),
                *(("mergekit", 1, 2), ("torch", 1, 1), ("sd-mecha", 1, 1)),
                *(("floor", 2, 3), ("stockpot", 2, 3), ("mergekit", 2, 1), ("sd-mecha", 2, 1)),
            ],
        ),
    ],
    "small": [
        (
            "small",
            dtype,
            8,
            [
                *(("floor", 1, 3), ("stockpot", 1, 3), ("stockpot-plain", 1, 1)),
                *(("mergekit", 1, 2), ("torch", 1, 2), ("sd-mecha", 1, 1)),
                *(("floor", 2, 3), ("stockpot", 2, 3), ("mergekit", 2, 2)),
            ],
        )
        for dtype in ("F16", "BF16", "F32")
    ]
    + [
        ("small", "F16", 2, [("floor", 1, 1), ("stockpot", 1, 1)]),
        ("small", "F16", 32, [("floor", 1, 1), ("stockpot", 1, 1), ("stockpot", 2, 1)]),
    ],
}


def run(plan: str, folder: Path, only: set[str], brief: bool) -> list[Figures]:
    """Measure all of a plan."""
    results: list[Figures] = []
    for size, dtype, count, contenders in PLANS[plan]:
        inputs = files(folder, size, dtype, count)
        exact = folder / "exact.safetensors"
        measure("stockpot", 1, inputs, exact)
        for contender, cores, repetitions in contenders:
            if only and contender not in only:
                continue
            output = folder / "out.safetensors"
            figures = Figures(
                contender, cores, size, dtype, count, sum(path.stat().st_size for path in inputs)
            )
            for _ in range(1 if brief else repetitions):
                found = measure(contender, cores, inputs, output)
                figures.wall_s.append(round(found["wall_s"], 3))
                figures.cpu_s.append(round(found["user_s"] + found["system_s"], 3))
                figures.anonymous_mb = round(max(figures.anonymous_mb, found["anonymous_mb"]), 1)
                figures.peak_mb = round(max(figures.peak_mb, found["peak_mb"]), 1)
            if contender != "floor":
                figures.wrong = wrong(exact, output)
            results.append(figures)
            say(figures)
            output.unlink(missing_ok=True)
            shutil.rmtree(output.with_suffix(".mergekit"), ignore_errors=True)
        exact.unlink()
    return results


def say(figures: Figures) -> None:
    """Print a line as soon as it is known."""
    share = "" if figures.wrong is None else f"  wrong {figures.wrong:.2e}"
    sys.stdout.write(
        f"{figures.size} {figures.dtype} x{figures.count} {figures.contender:<15} "
        f"{figures.cores} core  wall {min(figures.wall_s):7.2f} s  cpu {min(figures.cpu_s):7.2f} s"
        f"  anon {figures.anonymous_mb:7.1f} MB  peak {figures.peak_mb:8.1f} MB{share}\n"
    )
    sys.stdout.flush()


def surroundings() -> dict[str, str]:
    """Say where and when it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), ""
    )
    return {
        "processor": model or platform.processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load": " ".join(f"{one:.2f}" for one in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", choices=list(PLANS))
    parser.add_argument("--folder", type=Path, required=True, help="where the checkpoints lie")
    parser.add_argument("--results", type=Path, required=True, help="a JSON file to write")
    parser.add_argument("--only", nargs="*", default=[], help="these contenders")
    parser.add_argument("--brief", action="store_true", help="each once")
    parser.add_argument("--make", action="store_true", help="only write the checkpoints")
    chosen = parser.parse_args()
    if chosen.make:
        for size, dtype, count, _ in PLANS[chosen.plan]:
            files(chosen.folder, size, dtype, count)
        return
    before = surroundings()
    results = run(chosen.plan, chosen.folder, set(chosen.only), chosen.brief)
    after = surroundings()["load"]
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "plan": chosen.plan,
        "surroundings": {**before, "load_after": after},
        "figures": [asdict(one) for one in results],
        "spread": {
            f"{one.contender}-{one.cores}-{one.dtype}": statistics.pstdev(one.wall_s)
            for one in results
            if len(one.wall_s) > 1
        },
    }
    chosen.results.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
