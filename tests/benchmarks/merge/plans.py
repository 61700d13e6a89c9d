"""What is measured: which files, by whom, on how many cores, how often; and what is expected."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FLOOR_BUFFERS_BYTES = (1 << 16, 1 << 17, 1 << 18)
"""A floor is the least of what these take, each in a process of its own."""


def processes(contender: str) -> tuple[str, ...]:
    """Say by which names of `contenders.py` a contender is run: the least of them counts."""
    if contender in ("floor", "floor-plain"):
        return tuple(f"{contender}-{size}" for size in FLOOR_BUFFERS_BYTES)
    return (contender,)


@dataclass(frozen=True)
class Case:
    """Checkpoints, and who merges them."""

    size: str
    """`full`: 1.72 GB in 16 bits; `small`: 0.22 GB."""
    dtype: str
    count: int
    contenders: tuple[tuple[str, int, int], ...]
    """Name, cores, and how often; the best counts."""


def _small(dtype: str) -> Case:
    others = (("floor-plain", 1, 3), ("stockpot-plain", 1, 1), ("sd-mecha", 1, 1))
    alone = others if dtype == "F16" else ()
    return Case(
        "small",
        dtype,
        8,
        (
            *(("floor", 1, 5), ("stockpot", 1, 5), ("mergekit", 1, 3), ("torch", 1, 2), *alone),
            *(("floor", 2, 5), ("stockpot", 2, 5), ("mergekit", 2, 2)),
        ),
    )


def _few_or_many(count: int) -> Case:
    both = (("floor", 1, 3), ("stockpot", 1, 3), ("floor", 2, 3), ("stockpot", 2, 3))
    sums = (
        *(("stockpot-verb", 1, 3), ("stockpot-keep", 1, 2)),
        *(("stockpot-add", 1, 3), ("stockpot-remove", 1, 3)),
    )
    return Case("small", "F16", count, (*both, *(sums if count == 32 else ())))


PLANS: Mapping[str, tuple[Case, ...]] = {
    "full": (
        Case(
            "full",
            "F16",
            8,
            (
                *(("floor", 1, 5), ("stockpot", 1, 5), ("stockpot-fsync", 1, 1)),
                ("floor-plain", 1, 2),
                *(("mergekit", 1, 2), ("torch", 1, 1), ("sd-mecha", 1, 1)),
                *(("floor", 2, 5), ("stockpot", 2, 5), ("mergekit", 2, 1)),
            ),
        ),
    ),
    "small": (
        *(_small(dtype) for dtype in ("F16", "BF16", "F32")),
        _few_or_many(2),
        _few_or_many(32),
    ),
}

# Size, type and count; ours on so many cores; `ours / other` at most, by wall time and by CPU.
RATIOS: tuple[tuple[tuple[str, str, int], int, str, float], ...] = (
    (("full", "F16", 8), 1, "mergekit", 1 / 4),
    (("full", "F16", 8), 1, "floor", 2.2),
    (("full", "F16", 8), 2, "floor", 2.2),
    (("small", "BF16", 8), 1, "mergekit", 1 / 2),
    (("small", "F32", 8), 1, "mergekit", 1 / 2),
)
CHANGES = {"stockpot-add": "adding", "stockpot-remove": "removing"}
CHANGE_FASTER = 3.0
"""By CPU, than a merge from scratch that hashes what it reads as they do."""
ANONYMOUS_MB = 64.0


@dataclass(frozen=True)
class Bar:
    """Something expected, and what came of it."""

    expected: str
    measured: str
    is_met: bool


def bars(figures: Iterable[Mapping[str, Any]]) -> list[Bar]:
    """Hold what was measured against what is expected; what was not measured is left out.

    Args:
        figures: As `bench.Figures`.
    """
    known = list(figures)

    def find(key: tuple[str, str, int], contender: str, cores: int) -> Mapping[str, Any] | None:
        chosen = (key, contender, cores)
        return next(
            (known_figure for known_figure in known if _chosen_by(known_figure) == chosen), None
        )

    rows = []
    for key, cores, other_name, most in RATIOS:
        ours, other = find(key, "stockpot", cores), find(key, other_name, cores)
        if ours is None or other is None:
            continue
        wall, cpu = (min(ours[unit]) / min(other[unit]) for unit in ("wall_s", "cpu_s"))
        where = f"{_describe(ours)}, {cores} core{'s' if cores > 1 else ''}"
        if most < 1:
            expected = f"{where}: at least {1 / most:g} x faster than {other_name}"
            ratio = f"{1 / wall:.1f} x in time, {1 / cpu:.1f} x in CPU"
        else:
            expected = f"{where}: at most {most:g} x the {other_name}"
            ratio = f"{wall:.2f} x in time, {cpu:.2f} x in CPU"
        rows.append(Bar(expected, ratio, max(wall, cpu) <= most))
    for contender, word in CHANGES.items():
        key = ("small", "F16", 32)
        ours, other = find(key, contender, 1), find(key, "stockpot-verb", 1)
        if ours is not None and other is not None:
            times = min(other["cpu_s"]) / min(ours["cpu_s"])
            expected = f"{word} one of {_describe(ours)}: at least {CHANGE_FASTER:g} x less CPU"
            rows.append(Bar(expected, f"{times:.1f} x", times >= CHANGE_FASTER))
    all_ours = [figure for figure in known if figure["contender"] == "stockpot"]
    for count in (2, 8, 32):
        used = [our["anonymous_mb"] for our in all_ours if our["count"] == count]
        if used:
            expected = f"N = {count}: at most {ANONYMOUS_MB:g} MB of anonymous memory"
            rows.append(Bar(expected, f"{max(used):.0f} MB", max(used) <= ANONYMOUS_MB))
    if all_ours:
        wrong = max(our["wrong"] for our in all_ours)
        rows.append(Bar("no element mis-rounded", f"{wrong:.1e}" if wrong else "0", not wrong))
    return rows


def _chosen_by(figures: Mapping[str, Any]) -> tuple[tuple[str, str, int], str, int]:
    key = (figures["size"], figures["dtype"], figures["count"])
    return key, figures["contender"], figures["cores"]


def _describe(figures: Mapping[str, Any]) -> str:
    dtype = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}[figures["dtype"]]
    return f"{figures['count']} x {figures['input_bytes'] / figures['count'] / 1e9:.2f} GB {dtype}"
