"""Write what was measured for people: a table and a plot, out of the figures of `bench.py`.

`report.py RESULTS.json... --page PAGE.md --plot PLOT.svg`; the page keeps its words, and gets new
tables between its two marks.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from plans import bars

BEGIN, END = "<!-- figures begin -->", "<!-- figures end -->"
WORDS = {
    "floor": "floor: read and write the bytes",
    "floor-plain": "the same, without taking the room for the output first",
    "stockpot": "**stockpot merge**",
    "stockpot-plain": "stockpot merge, without the compiled kernel",
    "stockpot-fsync": "stockpot merge, on the disk when it ends",
    "stockpot-verb": "a MergeRun from scratch: it hashes what it reads",
    "stockpot-keep": "the same, and keeps the sums",
    "stockpot-add": "**a MergeRun by sums: one is added**",
    "stockpot-remove": "**a MergeRun by sums: one is removed**",
    "torch": "torch: load all, add in fp32, divide, save",
    "mergekit": "mergekit 0.1.5, `linear`",
    "sd-mecha": "sd-mecha 1.1.8, `n_average`",
}
COLOURS = {"stockpot": "#1a7f37", "floor": "#8c959f", "floor-plain": "#8c959f"}
TYPES = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}


def groups(documents: Iterable[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """Put together what was measured on the same files."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for document in documents:
        for figure in document["figures"]:
            groups.setdefault((figure["size"], figure["dtype"], figure["count"]), []).append(figure)
    return groups


def title(key: tuple[str, str, int], figures: list[dict[str, Any]]) -> str:
    """Say what was merged."""
    _, dtype, count = key
    gigabytes = figures[0]["input_bytes"] / count / 1e9
    return f"{count} x {gigabytes:.2f} GB, {TYPES[dtype]}"


def table(figures: list[dict[str, Any]]) -> list[str]:
    """Lay out one group."""
    columns = ["cores", "wall, s", "CPU, s", "wall / floor", "CPU / floor"]
    columns += ["anonymous, MB", "peak, MB", "mis-rounded"]
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    floors = {figure["cores"]: figure for figure in figures if figure["contender"] == "floor"}
    for figure in sorted(figures, key=lambda entry: int(entry["cores"])):
        ratios = ["", ""]
        if figure["cores"] in floors:
            floor = floors[figure["cores"]]
            ratios = [f"{min(figure[unit]) / min(floor[unit]):.2f}" for unit in ("wall_s", "cpu_s")]
        share = (
            ""
            if figure["wrong"] is None
            else ("0" if not figure["wrong"] else f"{figure['wrong']:.1e}")
        )
        lines.append(
            f"| {WORDS.get(figure['contender'], figure['contender'])} | {figure['cores']} | "
            f"{spread(figure['wall_s'])} | {spread(figure['cpu_s'])} | {ratios[0]} | {ratios[1]} | "
            f"{figure['anonymous_mb']:,.0f} | {figure['peak_mb']:,.0f} | {share} |"
        )
    return lines


def spread(values: list[float]) -> str:
    """Say the best, and how far the worst was from it."""
    best, worst = min(values), max(values)
    return f"{best:.2f}" if len(values) == 1 else f"{best:.2f} (to {worst:.2f})"


def expectations(documents: list[dict[str, Any]]) -> list[str]:
    """Lay out what was expected, and what came of it."""
    chart = bars([figure for document in documents for figure in document["figures"]])
    rows = [
        f"| {bar.expected} | {bar.measured} | {'yes' if bar.is_met else '**no**'} |"
        for bar in chart
    ]
    return ["| expected | measured | met |", "|---|---|---|", *rows, ""] if rows else []


def page(documents: list[dict[str, Any]]) -> str:
    """Lay out all groups, with where they were measured."""
    lines = [BEGIN, "", *expectations(documents)]
    for key, figures in groups(documents).items():
        lines += [f"### {title(key, figures)}", "", *table(figures), ""]
    for document in documents:
        where = document["surroundings"]
        shares = [share for figure in document["figures"] for share in figure.get("others", [])]
        others = f"others kept {min(shares):.0%} to {max(shares):.0%} of the cores busy meanwhile; "
        lines.append(
            f"Plan `{document['plan']}`: {where['date']}, {where['processor']}, {where['cores']} "
            f"cores, Linux {where['kernel']}, Python {where['python']}, numpy {where['numpy']}; "
            f"{others if shares else ''}"
            f"load average {where['load']} before, {where['load_after']} after."
        )
        lines.append("")
    return "\n".join([*lines, END])


def plot(documents: list[dict[str, Any]]) -> str:
    """Draw CPU-seconds as bars, one group below the other."""
    rows: list[tuple[str, float, str]] = []
    for key, figures in groups(documents).items():
        one_core = [figure for figure in figures if figure["cores"] == 1]
        if len(one_core) < 3:
            continue
        rows.append((title(key, figures), -1.0, ""))
        rows += [
            (
                WORDS[figure["contender"]].strip("*").replace("`", ""),
                min(figure["cpu_s"]),
                figure["contender"],
            )
            for figure in sorted(one_core, key=lambda figure: min(figure["cpu_s"]))
        ]
    left, width, step, top = 330, 380, 24, 46
    height = top + step * len(rows) + 16
    heading = "CPU-seconds to average checkpoints, one core (less is better)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height}"',
        f'viewBox="0 0 800 {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="800" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16" fill="#1f2328">{heading}</text>',
    ]
    most = 1.0
    for number, (label, value, contender) in enumerate(rows):
        y = top + step * number
        if value < 0:
            after = [row[1] for row in rows[number + 1 :]]
            end = next((i for i, value in enumerate(after) if value < 0), len(after))
            most = max(after[:end])
            parts.append(f'<text x="16" y="{y + 16}" font-weight="bold">{label}</text>')
            continue
        bar = max(1.0, value / most * width)
        parts.append(
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end" fill="#1f2328">{label}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{bar:.1f}" height="{step - 7}" rx="2" '
            f'fill="{COLOURS.get(contender, "#54aeff")}"/>'
            f'<text x="{left + bar + 6:.1f}" y="{y + 15}" fill="#1f2328">{value:.2f} s</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Read figures, write page and plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    chosen = parser.parse_args()
    documents = [json.loads(path.read_text()) for path in chosen.results if path.is_file()]
    text = chosen.page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    chosen.page.write_text(before + page(documents) + after, encoding="utf-8")
    chosen.plot.write_text(plot(documents), encoding="utf-8")
    sys.stdout.write(f"wrote {chosen.page} and {chosen.plot}\n")


if __name__ == "__main__":
    main()
