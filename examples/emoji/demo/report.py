"""What the demo leaves behind: one HTML page with everything in it, and nothing from elsewhere."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from client import Answer
from numpy.typing import NDArray
from terminal import Teller, clock
from venue import Timing

from stockpot.api.v1alpha1 import UnlearningReceipt
from stockpot.evaluation.measurements import Measurement

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #33302c; background: #faf8f5;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.2rem; font-size: 1.2rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #e4dfd8; }
td.n { font-variant-numeric: tabular-nums; } code { font-size: .85em; }
img { max-width: 100%; image-rendering: pixelated; border: 1px solid #e4dfd8; background: #fff; }
.same { background: #e6f2e6; } p.lead { color: #5d574f; }
"""


@dataclass(frozen=True)
class Chapter:
    """One revision of the story."""

    name: str
    made_of: str
    weights: str
    recipe: str
    pictures: list[NDArray[np.uint8]]
    metrics: dict[str, Measurement] = field(default_factory=dict)


def write_report(
    path: Path,
    chapters: Sequence[Chapter],
    sheet: Path,
    receipts: Sequence[UnlearningReceipt],
    teller: Teller,
    answers: Sequence[Answer],
    timings: Sequence[Timing] = (),
) -> None:
    """Write the page."""
    picture = base64.b64encode(sheet.read_bytes()).decode()
    slowest_s = max((answer.took_s for answer in answers), default=0.0)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Stockpot: the first soup</title>
<style>{STYLE}</style></head><body>
<h1>The first soup</h1>
<p class="lead">Each row is what one revision draws from the same noise. A shard joins, and the
pictures change; it leaves, and they are what they were, to the last bit.</p>
<img alt="pictures of each revision" src="data:image/png;base64,{picture}">
<h2>Revisions</h2>
{_revisions(chapters)}
<p>Rows of one colour have the same weights.</p>
<h2>Receipts</h2>
{_receipts(receipts)}
<h2>The client</h2>
<p>One picture every three seconds, all the time: {len(answers)} requests,
{sum(1 for answer in answers if answer.status != 200)} failed,
the slowest took {slowest_s:.1f} s.</p>
<h2>Times</h2>
{_times(teller)}
{_measured(timings)}
</body></html>
"""
    path.write_text(page)


def _revisions(chapters: Sequence[Chapter]) -> str:
    seen = [one.weights for one in chapters]
    rows = []
    for chapter in chapters:
        shade = ' class="same"' if seen.count(chapter.weights) > 1 else ""
        rows.append(
            f"<tr{shade}><td>{html.escape(chapter.name)}</td><td>{html.escape(chapter.made_of)}</td>"
            f"<td><code>{chapter.weights[:23]}…</code></td>"
            f'<td class="n">{_value(chapter, "heldout_loss")}</td>'
            f'<td class="n">{_value(chapter, "saturation_mean")}</td></tr>'
        )
    head = _head("revision", "made of", "weights", "held-out loss", "saturation")
    return f"<table>{head}{''.join(rows)}</table>"


def _head(*titles: str) -> str:
    return f"<tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>"


def _value(chapter: Chapter, metric: str) -> str:
    figure = chapter.metrics.get(metric)
    if figure is None:
        return "-"
    error = figure.standard_error
    return f"{figure.value:.4f}" + (f" ± {error:.4f}" if error else "")


def _receipts(receipts: Sequence[UnlearningReceipt]) -> str:
    rows = "".join(
        f"<tr><td>{receipt.spec.sequence}</td><td>{html.escape(receipt.spec.shard.name)}</td>"
        f"<td>{receipt.spec.requested_at}</td><td>{receipt.spec.completeness.value}</td>"
        f"<td><code>{html.escape(receipt.spec.store_key)}</code></td></tr>"
        for receipt in receipts
    )
    head = (
        "<tr><th>no</th><th>shard</th><th>asked for</th><th>complete</th><th>in the store</th></tr>"
    )
    return f"<table>{head}{rows}</table>"


def _times(teller: Teller) -> str:
    ends = [start for _, start in teller.chapters[1:]] + [teller.elapsed_s]
    rows = "".join(
        f'<tr><td>{html.escape(title)}</td><td class="n">{clock(end - start)}</td></tr>'
        for (title, start), end in zip(teller.chapters, ends, strict=True)
    )
    return f"<table>{rows}</table>"


def _measured(timings: Sequence[Timing]) -> str:
    if not timings:
        return ""
    rows = "".join(
        f'<tr><td>{html.escape(timing.what)}</td><td class="n">{timing.took_s:.0f} s</td>'
        f'<td class="n">{timing.bar_s:.0f} s</td></tr>'
        for timing in timings
    )
    return f"<table>{_head('measured', 'took', 'bar')}{rows}</table>"
