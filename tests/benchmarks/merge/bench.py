"""Merging side by side: the same files, the same cores, one run. Writes a table and a plot.

`make bench-merge` runs it in an environment of its own, with the other tools in it. A machine that
does something else meanwhile shows in the spread, and in the load written beside the figures.
"""

import argparse
import json
import os
import platform
import shutil
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
from plans import PLANS, bars, processes

from stockpot.merging import verify

HERE = Path(__file__).parent
SAMPLES = 20_000
"""Elements of the mean that the others are compared with, which are averaged in rationals."""


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
    others: list[float] = field(default_factory=list)
    """The share of all cores that others kept busy meanwhile."""
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


def machine_s() -> tuple[float, float]:
    """Seconds that all cores together were busy, and that they were idle, since the start."""
    ticks = os.sysconf("SC_CLK_TCK")
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, idle, waiting, hard, soft, steal = (int(word) / ticks for word in words)
    return user + nice + system + hard + soft + steal, idle + waiting


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
    lines: list[str] = []
    errors = threading.Thread(target=lambda: lines.append(stderr.read()), daemon=True)
    errors.start()
    for line in stdout:
        if line == "ready\n":
            break
    else:
        errors.join()
        raise SystemExit(f"{contender} did not get ready:\n{lines[0][-2000:]}")
    before = memory_kb(process.pid).get("RssAnon", 0)
    most = {"RssAnon": before, "VmHWM": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            for key, value in memory_kb(process.pid).items():
                most[key] = max(most[key], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    busy, idle = machine_s()
    stdin.write("\n")
    stdin.close()
    rest = stdout.read()
    busy, idle = (now - before_s for now, before_s in zip(machine_s(), (busy, idle), strict=True))
    ended.set()
    watcher.join()
    errors.join()
    if process.wait():
        raise SystemExit(f"{contender} failed:\n{lines[0][-2000:]}")
    figures = json.loads(rest.strip().splitlines()[-1])
    ours_s = figures["user_s"] + figures["system_s"]
    figures["others"] = max(0.0, busy - ours_s) / max(busy + idle, 1e-9)
    figures["anonymous_mb"] = (most["RssAnon"] - before) / 1000
    figures["peak_mb"] = most["VmHWM"] / 1000
    return dict(figures)


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


def run(plan: str, folder: Path, only: set[str], brief: bool) -> list[Figures]:
    """Measure all of a plan.

    In rounds, so that those who are compared are measured beside each other, and what else the
    machine does in between falls on all of them.
    """
    results: list[Figures] = []
    for case in PLANS[plan]:
        inputs = files(folder, case.size, case.dtype, case.count)
        os.sync()  # What was written a moment ago must not be written meanwhile.
        exact, output = folder / "exact.safetensors", folder / "out.safetensors"
        measure("stockpot", 1, inputs, exact)
        checked = verify(exact, inputs, samples=SAMPLES)
        name = f"{case.count} {case.size} {case.dtype}"
        say(f"the mean of {name} is right at {checked} elements, in rationals")
        total = sum(path.stat().st_size for path in inputs)
        planned = [
            (Figures(name, cores, case.size, case.dtype, case.count, total), times)
            for name, cores, times in case.contenders
            if not only or name in only
        ]
        for turn in range(1 if brief else max((times for _, times in planned), default=0)):
            for figures, times in planned:
                if turn < times:
                    measure_into(figures, inputs, output, exact)
        results += [figures for figures, _ in planned]
        exact.unlink()
    return results


def measure_into(figures: Figures, inputs: Sequence[Path], output: Path, exact: Path) -> None:
    """Run a contender once more; keep what it took, and print it."""
    names = processes(figures.contender)
    runs = [measure(name, figures.cores, inputs, output) for name in names]
    figures.wall_s.append(round(min(run["wall_s"] for run in runs), 3))
    figures.cpu_s.append(round(min(run["user_s"] + run["system_s"] for run in runs), 3))
    figures.others.append(round(max(run["others"] for run in runs), 3))
    anonymous_mb, peak_mb = (max(run[key] for run in runs) for key in ("anonymous_mb", "peak_mb"))
    figures.anonymous_mb = round(max(figures.anonymous_mb, anonymous_mb), 1)
    figures.peak_mb = round(max(figures.peak_mb, peak_mb), 1)
    if not figures.contender.startswith("floor") and figures.wrong is None:
        figures.wrong = wrong(exact, output)
    share = "" if figures.wrong is None else f"  wrong {figures.wrong:.1e}"
    say(
        f"{figures.size} {figures.dtype} x{figures.count} {figures.contender:<15} "
        f"{figures.cores} core  wall {figures.wall_s[-1]:7.2f} s  cpu {figures.cpu_s[-1]:7.2f} s  "
        f"others {figures.others[-1]:.0%}  anon {figures.anonymous_mb:6.1f} MB{share}"
    )
    for path in (output, *output.parent.glob(f"{output.stem}.*-sums")):
        path.unlink(missing_ok=True)
    shutil.rmtree(output.with_suffix(".mergekit"), ignore_errors=True)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
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
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
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
        for case in PLANS[chosen.plan]:
            files(chosen.folder, case.size, case.dtype, case.count)
        return
    began_s = time.monotonic()
    before = surroundings()
    results = run(chosen.plan, chosen.folder, set(chosen.only), chosen.brief)
    after = surroundings()["load"]
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "plan": chosen.plan,
        "surroundings": {**before, "load_after": after, "samples": str(SAMPLES)},
        "figures": [asdict(result) for result in results],
    }
    chosen.results.write_text(json.dumps(document, indent=1) + "\n")
    for bar in bars(document["figures"]):
        say(f"{'met ' if bar.is_met else 'MISSED'}  {bar.expected}: {bar.measured}")
    say(f"plan {chosen.plan}: {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
