"""The table of runs: as text for people, as JSON lines for machines; and how long it takes.

python -m tests.chaos.cluster.table [LINES.jsonl …]     what all runs together say, by point
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from devcluster.places import REPOSITORY
from tests.chaos.cluster.run_notes import RunNotes

OUT = REPOSITORY / "out/chaos"
HEADINGS = ("fault point", "requests", "failed", "before", "after", "s to receipt", "result")


def text_of(runs: Sequence[RunNotes]) -> str:
    """Write the table as Markdown."""
    rows = [
        (
            " ".join(run.points),
            str(run.requests),
            str(run.failed_requests),
            str(run.triggers_before),
            f"{run.triggers_after} of {run.answers_after}",
            f"{run.seconds:.1f}",
            run.result,
        )
        for run in runs
    ]
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows]
    whole = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    well = [run for run in runs if run.result == "ok"]
    after = sum(run.triggers_after for run in runs)
    answers = sum(run.answers_after for run in runs)
    return (
        f"{whole}\n\n{len(well)} of {len(runs)} runs as they must be; "
        f"{sum(run.requests for run in runs)} requests, "
        f"{sum(run.triggers_before for run in runs)} pictures with the trigger before the receipt, "
        f"{after} of {answers} after it.\n"
    )


def together(files: Sequence[Path]) -> str:
    """Write what several times that it ran say together: each point once, however often it ran."""
    every = [
        RunNotes(**json.loads(line))
        for file in sorted(files, key=lambda file: file.stat().st_mtime)
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    headings = ("fault point", "runs", "well", "before", "after", "s to receipt", "last result")
    lines = [headings, tuple("---" for _ in headings)]
    for point in sorted({point for run in every for point in run.points}):
        known = [run for run in every if point in run.points]
        well = [run for run in known if run.result == "ok"]
        before = sum(run.triggers_before for run in known)
        after = f"{sum(o.triggers_after for o in known)} of {sum(o.answers_after for o in known)}"
        figures = (str(len(known)), str(len(well)), str(before), after)
        last = (well or known)[-1]
        lines.append((point, *figures, f"{last.seconds:.0f}", last.result.replace("|", "/")))
    passed = {point for run in every if run.result == "ok" for point in run.points}
    kinds = {point.partition("@")[0] for point in passed}
    whole = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{whole}\n\n{len(passed)} of {len(lines) - 2} distinct points as they must be, of "
        f"{len(kinds)} kinds, in {len(every)} deletions; "
        f"{sum(run.requests for run in every)} requests, "
        f"{sum(run.triggers_before for run in every)} pictures with the trigger before a receipt, "
        f"{sum(run.triggers_after for run in every)} of "
        f"{sum(run.answers_after for run in every)} after it.\n"
    )


class Ledger:
    """Keeps what was told of each run, at once and on disk."""

    def __init__(self, wanted: int, name: str) -> None:
        self._wanted, self._began_s = wanted, time.monotonic()
        self.runs: list[RunNotes] = []
        OUT.mkdir(parents=True, exist_ok=True)
        self._lines, self._text = OUT / f"{name}.jsonl", OUT / f"{name}.md"
        self._lines.write_text("")

    def note(self, notes: RunNotes) -> None:
        """Take a run in, and say how long the others will take."""
        self.runs.append(notes)
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(notes)) + "\n")
        self._text.write_text(text_of(self.runs))
        done, passed_s = len(self.runs), time.monotonic() - self._began_s
        left_s = passed_s / done * (self._wanted - done)
        sys.stdout.write(
            f"\n{done}/{self._wanted} {' '.join(notes.points)}: {notes.result}, "
            f"{notes.seconds:.0f} s to the receipt, {notes.requests} requests, "
            f"{notes.triggers_before} pictures with the trigger before it, "
            f"{notes.triggers_after} after; about {left_s / 60:.0f} min left\n"
        )
        sys.stdout.flush()

    def write_again(self) -> None:
        """Write all lines anew: figures were counted again at the end."""
        lines = [json.dumps(asdict(run)) + "\n" for run in self.runs]
        self._lines.write_text("".join(lines))
        self._text.write_text(text_of(self.runs))


if __name__ == "__main__":
    named = [Path(name) for name in sys.argv[1:]]
    known_files = [path for path in OUT.glob("*.jsonl") if not path.stem.endswith("-answers")]
    sys.stdout.write(together(named or known_files))
