"""Write what was measured for people: a table and a plot, out of the figures of `bench.py`.

`python -m tests.benchmarks.scale.report RESULTS.json --page PAGE.md --plot PLOT.svg`; the page
keeps its words, and gets a new table between its two marks.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures begin -->", "<!-- figures end -->"
REST_MB, START_MB, SETTLED_CPU_S, TOMBSTONE_S, GROWTH = 350.0, 450.0, 60.0, 1.0, 1.5

UNMEASURED = "not measured"

Figures = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """What was expected, and what came of it."""

    expected: str
    measured: str
    is_met: bool


def requests_in(counted: dict[str, int]) -> int:
    """Count all requests."""
    return sum(counted.values())


def p99(sorted_s: Sequence[float]) -> float:
    """Return the 99th percentile, by the nearest rank."""
    return sorted_s[min(len(sorted_s) - 1, max(0, round(0.99 * len(sorted_s)) - 1))]


def bars(results: Sequence[Figures]) -> list[Bar]:
    """Compare the figures with what is expected of the largest population."""
    most = max(figures["shards"] for figures in results)
    large = [figures for figures in results if figures["shards"] == most]
    small = min(results, key=lambda figures: int(figures["shards"]))
    rest = max(figures["rss_rest_mb"] for figures in large)
    start = max(figures["rss_start_mb"] for figures in large)
    cpu_s = max(figures["settled_cpu_s"] for figures in large)
    writes = max(figures["quiet_writes"] for figures in large)
    minutes = max(figures["quiet_s"] for figures in large) / 60
    expected = [
        Bar(
            f"at rest less than {REST_MB:.0f} MB",
            f"{rest:.0f} MB" if rest else UNMEASURED,
            0 < rest < REST_MB,
        ),
        Bar(f"at the start less than {START_MB:.0f} MB", f"{start:.0f} MB", start < START_MB),
        Bar(
            f"settled after less than {SETTLED_CPU_S:.0f} CPU-s",
            f"{cpu_s:.1f} CPU-s",
            cpu_s < SETTLED_CPU_S,
        ),
        Bar(f"no write but Leases in {minutes:.0f} quiet minutes", f"{writes}", writes == 0),
    ]
    times = sorted(s for figures in large for s in figures["tombstone_s"])
    expected.append(
        Bar(
            f"a deletion in a storm is recorded within {TOMBSTONE_S:.0f} s (p99)",
            f"{p99(times):.2f} s" if times else UNMEASURED,
            bool(times) and p99(times) < TOMBSTONE_S,
        )
    )
    if small["shards"] < most:
        for name, value in (("CPU", cpu_of), ("requests", requests_of)):
            ratio = max(value(figures) for figures in large) / value(small)
            expected.append(
                Bar(
                    f"{name} a shard at {most:,}: at most {GROWTH} of those at {small['shards']:,}",
                    f"{ratio:.2f}",
                    ratio <= GROWTH,
                )
            )
    return expected


def cpu_of(figures: Figures) -> float:
    """Return the CPU-seconds a shard until settled."""
    return float(figures["settled_cpu_s"] / figures["shards"])


def requests_of(figures: Figures) -> float:
    """Return the requests a shard until settled."""
    return requests_in(figures["settled_requests"]) / float(figures["shards"])


def title(figures: Figures) -> str:
    """Say what was measured."""
    namespaces = figures["namespaces"]
    where = f" in {namespaces} namespaces" if namespaces > 1 else ""
    more = [
        f"{figures[what]:,} {what}" for what in ("receipts", "revisions") if figures.get(what, 0)
    ]
    return f"{figures['shards']:,} shards{where}" + "".join(f", {words}" for words in more)


def verbs(counted: dict[str, int]) -> str:
    """Format requests by verb."""
    return ", ".join(f"{count:,} {verb}" for verb, count in counted.items()) or "none"


ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("restart to settled, s", lambda f: f"{f['settled_s']:.1f}"),
    ("restart to settled, CPU-s of the operator", lambda f: f"{f['settled_cpu_s']:.1f}"),
    ("requests until settled", lambda f: verbs(f["settled_requests"])),
    ("writes until settled, but Leases", lambda f: str(f["settled_writes"])),
    ("most RSS until settled, MB", lambda f: f"{f['rss_start_mb']:.0f}"),
    ("RSS at rest, MB", lambda f: f"{f['rss_rest_mb']:.0f}" if f["rss_rest_mb"] else ""),
    ("quiet minutes", lambda f: f"{f['quiet_s'] / 60:.1f}"),
    (
        "CPU in them, % of a core",
        lambda f: f"{100 * f['quiet_cpu_s'] / f['quiet_s']:.1f}" if f["quiet_cpu_s"] else "",
    ),
    ("requests in them, but for Leases", lambda f: verbs(f["quiet_requests"])),
    ("writes in them, but Leases", lambda f: str(f["quiet_writes"])),
    (
        "storm",
        lambda f: (
            f"{f['storm_events']:,} events in {f['storm_s']:.0f} s, {f['storm_cpu_s']:.0f} CPU-s"
            if f["storm_events"]
            else ""
        ),
    ),
    (
        "deletion to tombstone in it, median and p99, s",
        lambda f: (
            f"{f['tombstone_s'][len(f['tombstone_s']) // 2]:.2f}, {p99(f['tombstone_s']):.2f}"
            if f["tombstone_s"]
            else ""
        ),
    ),
)


def table(document: dict[str, Any]) -> str:
    """Lay out the bars and the figures, with where they were measured."""
    results, where = document["figures"], document["surroundings"]
    checked = [
        f"| {bar.expected} | {bar.measured} | {'yes' if bar.is_met else '**no**'} |"
        for bar in bars(results)
    ]
    head = [f"| | {' | '.join(map(title, results))} |", f"|---|{'---|' * len(results)}"]
    body = [f"| {name} | {' | '.join(map(text, results))} |" for name, text in ROWS]
    place = (
        f"Measured {where['date']}: {where['processor']}, {where['cores']} cores, Python "
        f"{where['python']}; API server, etcd and the clients of the storm on the same cores; load "
        f"average {where['load']} at the end. {where.get('note', '')}".rstrip()
    )
    lines = ["| expected | measured | met |", "|---|---|---|", *checked, "", *head, *body]
    return "\n".join([BEGIN, "", *lines, "", place, "", END])


@dataclass(frozen=True)
class Panel:
    """One of the plots: what it shows, and the limits that are drawn into it."""

    heading: str
    lines: tuple[tuple[str, str, Callable[[Figures], float]], ...]
    """Label, colour and value of each line; a line alone needs no label."""
    limits: tuple[tuple[float, str], ...] = ()
    """Value and colour of each limit."""


PANELS = (
    Panel(
        "memory (RSS), MB",
        (
            ("most until settled", "#bc4c00", lambda f: float(f["rss_start_mb"])),
            ("at rest", "#1a7f37", lambda f: float(f["rss_rest_mb"])),
        ),
        ((START_MB, "#bc4c00"), (REST_MB, "#1a7f37")),
    ),
    Panel(
        "restart to settled, CPU-seconds",
        (("", "#0969da", lambda f: float(f["settled_cpu_s"])),),
        ((SETTLED_CPU_S, "#0969da"),),
    ),
    Panel(
        "requests until settled",
        (("", "#8250df", lambda f: float(requests_in(f["settled_requests"]))),),
    ),
)
TITLE = "The operator with 1,000 to 10,000 shards in 100 soups"
WIDTH, HEIGHT, LEFT, TOP, STEP = 230, 190, 58, 66, 320


def plot(document: dict[str, Any]) -> str:
    """Draw memory, CPU and requests over the number of shards; dashed lines are limits."""
    results = document["figures"]
    width, height = STEP * len(PANELS) + 10, TOP + HEIGHT + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"',
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16" fill="#1f2328">{TITLE}</text>',
    ]
    for number, panel in enumerate(PANELS):
        parts += _panel(panel, results, LEFT + STEP * number)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, results: Sequence[Figures], left: float) -> list[str]:
    values = [value(figures) for _, _, value in panel.lines for figures in results]
    highest = 1.15 * max([*values, *(limit for limit, _ in panel.limits)])
    most = max(figures["shards"] for figures in results)
    bottom = TOP + HEIGHT

    def x(shards: float) -> float:
        return left + shards / most * WIDTH

    def y(value: float) -> float:
        return bottom - value / highest * HEIGHT

    parts = [
        f'<text x="{left}" y="{TOP - 14}" font-weight="bold" fill="#1f2328">{panel.heading}</text>',
        f'<path d="M{left} {TOP}V{bottom}H{left + WIDTH}" fill="none" stroke="#8c959f"/>',
        f'<text x="{left - 6}" y="{bottom + 4}" text-anchor="end">0</text>',
        f'<text x="{left + WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">shards</text>',
    ]
    parts += [
        f'<text x="{x(shards):.1f}" y="{bottom + 18}" text-anchor="middle">{shards:,}</text>'
        for shards in sorted({figures["shards"] for figures in results})
    ]
    for limit, colour in panel.limits:
        parts.append(
            f'<path d="M{left} {y(limit):.1f}H{left + WIDTH}" stroke="{colour}" '
            f'stroke-dasharray="4 4" opacity="0.7"/><text x="{left - 6}" y="{y(limit) + 4:.1f}" '
            f'text-anchor="end">{limit:,.0f}</text>'
        )
    for number, (label, colour, value) in enumerate(panel.lines):
        measured = [figures for figures in results if value(figures)]
        single = [figures for figures in measured if figures["namespaces"] == 1]
        points = " ".join(f"{x(f['shards']):.1f},{y(value(f)):.1f}" for f in single)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        for figures in measured:
            shape = "white" if figures["namespaces"] > 1 else colour
            at = f'cx="{x(figures["shards"]):.1f}" cy="{y(value(figures)):.1f}"'
            parts.append(f'<circle {at} r="3.5" fill="{shape}" stroke="{colour}"/>')
        last = max(single or measured, key=lambda figures: int(figures["shards"]))
        parts.append(
            # Two lines may end at one place.
            f'<text x="{x(last["shards"]) + 7:.1f}" y="{y(value(last)) + 4 + 14 * number:.1f}" '
            f'fill="{colour}">{value(last):,.0f}</text>'
            f'<text x="{left + 80}" y="{bottom - 28 + 15 * number}" fill="{colour}">{label}</text>'
        )
    return parts


def main() -> None:
    """Read figures, write page and plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    chosen = parser.parse_args()
    document = json.loads(chosen.results.read_text())
    text = chosen.page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    chosen.page.write_text(before + table(document) + after, encoding="utf-8")
    chosen.plot.write_text(plot(document), encoding="utf-8")
    sys.stdout.write(f"wrote {chosen.page} and {chosen.plot}\n")
    if any(not bar.is_met for bar in bars(document["figures"])):
        sys.exit("not every bar is met")


if __name__ == "__main__":
    main()
